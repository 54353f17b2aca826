"""Runs the study; see `study`."""

from __future__ import annotations

from simulations.idh_study.study import main

main()
