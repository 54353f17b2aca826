"""Keep the libraries that read files from telling what they read.

Their warnings and log lines quote values of the header: names, dates, identifiers. While a file of a patient is open
they are silent; what matters of it comes back as a reason of our own words.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# warnings and loggers belong to the whole process, so one thread at a time may silence them
_LOCK = threading.RLock()
LIBRARIES = ("pydicom", "highdicom", "nibabel", "nibabel.global", "pylibjpeg")


def _anew() -> None:
    """Give a forked process a lock of its own: a thread that is not there any more may hold the one it got."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and the log lines of `LIBRARIES` for a while."""
    with _LOCK, _silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _silenced() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(logger.disabled, logger.propagate) for logger in loggers]
    silence = logging.NullHandler()  # without a handler at all, Python would print warnings as a last resort
    for logger in loggers:
        logger.disabled, logger.propagate = True, False
        logger.addHandler(silence)
    try:
        yield
    finally:
        for logger, (disabled, propagate) in zip(loggers, before, strict=True):
            logger.disabled, logger.propagate = disabled, propagate
            logger.removeHandler(silence)
