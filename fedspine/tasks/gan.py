"""`gan`: the generator of the family that measures best so far, with its own settings; today `dcgan`."""

from __future__ import annotations

from fedspine.tasks.dcgan import Options, task

__all__ = ["Options", "task"]
