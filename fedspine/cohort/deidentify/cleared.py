"""Count what was taken out of the headers of a site's DICOM files: attributes and numbers, never a value."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedspine.cohort.cache import Cache, key_of


@dataclass
class Cleared:
    """The counts of one site, added up file by file."""

    files: Counter[tuple[int, str]] = field(default_factory=Counter)
    patients: dict[tuple[int, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, actions: Iterable[Sequence[int | str]], patient: str) -> None:
        """Count one file's actions, each (tag, what became of it)."""
        for tag, done in actions:
            self.files[int(tag), str(done)] += 1
            self.patients[int(tag), str(done)].add(patient)

    def counted(self) -> tuple[tuple[int, str, int, int], ...]:
        """Return (tag, what became of it, files, patients), in the order of tags."""
        return tuple((*one, self.files[one], len(self.patients[one])) for one in sorted(self.files))


def kept_actions(cache: Cache, actions: Sequence[tuple[int, str]]) -> str:
    """Keep a file's actions in the cache, once for all files with the same, and return the entry's name."""
    name = key_of("cleared", actions)
    if name not in cache:
        cache.put(name, actions)
    return name
