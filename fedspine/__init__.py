"""Federated, private learning on rare spine tumours: a hospital's patients never leave it."""
