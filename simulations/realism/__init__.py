"""How far phantoms are from real spines."""
