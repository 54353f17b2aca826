"""Where a network trains: whatever meets it follows it there.

A patient, and every tensor that a loss makes, moves to the network's device step by step; sums of patients, their
clipping and their noise stay what they were, for none of them asks where a number is kept. Noise and sampling are drawn
on the CPU in any case (`privacy.patient_sum`), and weights travel from there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def where(model: nn.Module) -> torch.device:
    """Return the device that holds `model`: its first weight's."""
    return next(model.parameters()).device


def placed(model: nn.Module, draws: torch.Generator) -> tuple[AbstractContextManager[object], torch.Generator]:
    """Return a context whose new tensors are where the network is, and a generator there.

    No device reads another's generator: off the CPU it is a fresh one, seeded by one number of `draws`.
    """
    device = where(model)
    if device.type == "cpu":
        return nullcontext(), draws
    seed = int(torch.randint(2**62, (), generator=draws))
    return device, torch.Generator(device).manual_seed(seed)
