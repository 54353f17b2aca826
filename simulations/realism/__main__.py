"""Runs the study; see `two_sample`."""

from __future__ import annotations

from simulations.realism.two_sample import main

main()
