"""Commands whose work would not fit into `cli`, which alone names them."""
