"""Segmentation on patients in one hand: pooled, alone, federated, private on the same folds."""
