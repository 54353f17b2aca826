"""Runs the study; see `study`."""

from __future__ import annotations

from simulations.segmentation_study.study import main

main()
