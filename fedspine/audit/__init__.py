"""What the best known attacks get out of a run, and whether the mechanism did what its ledger says."""
