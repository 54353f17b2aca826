"""A hospital's Flower ClientApp: policy, egress gate, local state."""
