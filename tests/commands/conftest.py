"""The hospital of the client's tests, for commands."""

from __future__ import annotations

from ..client.conftest import cohort, opened, plan

__all__ = ["cohort", "opened", "plan"]
