"""HARMONY-Spine: shared scaling and scanner effects, from private sums."""
