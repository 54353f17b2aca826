"""The Flower ServerApp: plan runner, aggregation, vault of checkpoints."""
