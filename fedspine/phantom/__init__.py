"""The public twin: patients that nobody has, drawn from physics."""
