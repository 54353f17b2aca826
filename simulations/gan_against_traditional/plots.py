"""The study's two plots, by matplotlib, as SVG that is the same for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from fedspine.evaluation.bootstrap import Estimate

COLOURS = {
    "none": "#7a7a7a",
    "traditional": "#0072b2",
    "gan": "#d55e00",
    "both": "#009e73",
    "phantoms": "#cc79a7",
    "phantoms + traditional": "#e69f00",
}
"""Okabe and Ito's palette, told apart by colour-blind readers."""


def plot_amounts(curves: Mapping[str, Sequence[tuple[int, Estimate]]], metric: str, file: Path) -> None:
    """Draw every arm's mean and interval over the number of real patients a site.

    Args:
        curves: arm to (amount, mean); amount 0 is all of them.
        metric: for the axis.
        file: SVG to write.
    """
    with mpl.rc_context({"svg.hashsalt": "fedspine", "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        amounts = sorted({amount for points in curves.values() for amount, _ in points}, key=lambda a: a or 10**9)
        for offset, (arm, points) in enumerate(curves.items()):
            at = [amounts.index(amount) + 0.06 * (offset - 2) for amount, _ in points]
            means = [estimate.value for _, estimate in points]
            below = [max(estimate.value - estimate.low, 0.0) for _, estimate in points]
            above = [max(estimate.high - estimate.value, 0.0) for _, estimate in points]
            axes.errorbar(at, means, [below, above], label=arm, color=COLOURS[arm], marker="o", capsize=2, lw=1.4)
        axes.set_xticks(range(len(amounts)), [str(amount or "all") for amount in amounts])
        axes.set_xlabel("real patients a site")
        axes.set_ylabel(metric)
        axes.legend(frameon=False, ncols=2, fontsize=9)
        figure.savefig(file, metadata={"Date": None})


def plot_arms(gains: Mapping[str, Estimate], title: str, file: Path) -> None:
    """Draw differences with their intervals, one below the other; right of the line is better."""
    with mpl.rc_context({"svg.hashsalt": "fedspine", "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.4, 0.9 + 0.3 * max(len(gains), 1)), layout="constrained")
        axes = figure.add_subplot()
        for row, (name, gain) in enumerate(gains.items()):
            colour = COLOURS[name.split(",")[0]]
            axes.plot([gain.low, gain.high], [row, row], color=colour, lw=2)
            axes.plot(gain.value, row, marker="o", color=colour)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(range(len(gains)), list(gains))
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)  # long labels leave the axis little room
        axes.set_xlabel(title)
        figure.savefig(file, metadata={"Date": None})
