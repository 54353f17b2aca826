"""The safe: patient sums, private SGD and the ledger. Nothing else clips or adds noise."""
