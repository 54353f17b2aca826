"""Runs the study; see `study`."""

from __future__ import annotations

from simulations.harmony_on_gliomas.study import main

main()
