"""The front door: a hospital's data enters only here."""
