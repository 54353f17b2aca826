"""The two passes over the files: read every header, then the pixels of the stacks that are used.

Both go through the cache, and what it does not hold is read by `cohort.workers` unless it is so little that starting
processes would take longer. A file that hangs or kills its reader is refused and the others go on. What a reader says
of a file is remembered; what happened to the reader is not, for a busy machine may be to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.cache import Cache, file_key, key_of, write_whole
from fedspine.cohort.deidentify.cleared import Cleared, kept_actions
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.deidentify.keyring import Pseudonyms
from fedspine.cohort.dicom.header import FileHeader, read_header
from fedspine.cohort.dicom.pixels import Order, Part, write_voxels
from fedspine.cohort.dicom.record import PATIENT, restored, stored
from fedspine.cohort.dicom.remembering import Memory
from fedspine.cohort.dicom.series import Stack
from fedspine.cohort.files import File
from fedspine.cohort.quiet import quiet
from fedspine.cohort.workers import Lost, Workers, possible
from fedspine.errors import PassingError, SeriesError

BATCH = 32
"""Headers that one task reads: 20 ms of work for 1 ms of handing over."""
FEW_HEADERS = 64
SHORT_BYTES = 2**22
"""A header no longer than this takes no more than a few seconds even if it was made to be slow."""
FEW_PIXEL_BYTES = 2**25

LIMIT_S = 10.0
"""Seconds that any file may take."""
SECONDS_A_FILE = 0.5
BYTES_A_SECOND = 2e7
"""Slower than any decoder on any disk that is worth waiting for."""

LOST = {
    Lost.SLOW: "a file must be readable within seconds; found one that is not; export it again.",
    Lost.DEAD: "a file must be readable with bounded memory; found one that is not; export it again.",
}

Entry = dict[str, Any]


def _refusal(error: SeriesError) -> Entry:
    return {"refused": str(error), "passing": isinstance(error, PassingError)}


def read_headers(
    folder: Path,
    files: Sequence[File],
    cache: Cache,
    workers: Workers,
    names: Pseudonyms,
    cleared: Cleared,
    step: Callable[[int], None],
) -> Iterator[FileHeader | str]:
    """Yield the header of each of `files` (places within `folder`) in order, or why there is none.

    `names` has the site's key and learns whom each pseudonym means; `cleared` counts what was taken out.
    """
    kind = f"header {names.key.fingerprint()}"
    keys = [file_key(kind, file) for file in files]
    new = [file for file, key in zip(files, keys, strict=True) if key not in cache]
    made = _made(folder, new, workers, names.key)
    for done, (file, key) in enumerate(zip(files, keys, strict=True)):
        entry = cache.get(key)
        if entry is not None and "header" in entry and entry["header"][PATIENT] not in names.own:
            entry = headers_of((folder, [file], names.key))[0]  # the table went; the file knows whom this one means
            _keep(entry, key, cache, names)
        elif entry is None:
            entry = next(made)
            _keep(entry, key, cache, names)
        step(done + 1)
        if "refused" in entry:
            yield str(entry["refused"])
        else:
            header = restored(entry["header"])
            cleared.add(cache.get(entry["cleared"]) or [], header.patient)
            yield header


def _keep(entry: Entry, key: str, cache: Cache, names: Pseudonyms) -> None:
    """Remember a new entry, without the patient's own id, which is only for the table of pseudonyms."""
    if "header" in entry:
        names.note(entry["header"][PATIENT], entry.pop("own"))
        entry["cleared"] = kept_actions(cache, entry.pop("removed"))
    if not entry.get("passing"):
        cache.put(key, entry)


def _made(folder: Path, files: Sequence[File], workers: Workers, key: Key) -> Iterator[Entry]:
    """Yield the header entry of each file, in order."""
    few = len(files) <= FEW_HEADERS and all(file.size <= SHORT_BYTES for file in files)
    if few or not possible():
        for file in files:
            yield from headers_of((folder, [file], key))
        return
    batches = [(folder, list(files[start : start + BATCH]), key) for start in range(0, len(files), BATCH)]
    for batch, result in zip(batches, workers.map(headers_of, batches, lambda _: LIMIT_S), strict=True):
        if not isinstance(result, Lost):
            yield from result
            continue
        alone = [(folder, [file], key) for file in batch[1]]  # to find out which one it was
        for one in workers.map(headers_of, alone, lambda _: LIMIT_S):
            yield from [{"refused": LOST[one], "passing": True}] if isinstance(one, Lost) else one


def headers_of(task: tuple[Path, Sequence[File], Key]) -> list[Entry]:
    """Return the header entries of some files, with the patients' own ids; run by a worker."""
    folder, files, key = task
    entries: list[Entry] = []
    memory = Memory()
    with quiet():
        for file in files:
            try:
                opened = read_header(folder, file, key, memory)
                header, removed = stored(opened.header), opened.removed.actions
                entries.append({"header": header, "own": opened.own, "removed": removed})
            except SeriesError as error:
                entries.append(_refusal(error))
    return entries


class Decoder:
    """Reads the voxels of stacks through the cache.

    Args:
        folder: the site folder.
        files: place to file, of all that the stacks may come from.
        cache: where voxels are kept.
        workers: who decodes.
    """

    def __init__(self, folder: Path, files: dict[str, File], cache: Cache, workers: Workers) -> None:
        self._folder, self._files, self._cache, self._workers = folder, files, cache, workers
        self._passing: dict[str, Entry] = {}
        self._arrays: dict[str, NDArray[np.generic]] = {}

    def known(self, stack: Stack) -> bool:
        """Tell whether `voxels` needs not read anything."""
        key = self.key(stack)
        entry = self._entry(key)
        return entry is not None and ("refused" in entry or self._array(key) is not None)

    def voxels(self, stack: Stack) -> tuple[NDArray[np.generic], list[tuple[str, str]]] | str:
        """Return the voxels (slice, row, column) and the files not needed with the reason, or why there are none."""
        if not self.known(stack):
            self.decode([stack])
        key = self.key(stack)
        entry = self._entry(key) or {"refused": LOST[Lost.DEAD]}
        array = self._array(key)
        if "refused" in entry or array is None:
            return str(entry.get("refused", LOST[Lost.DEAD]))
        return array, [(stack.files[number], reason) for number, reason in entry["spare"]]

    def decode(self, stacks: Iterable[Stack], step: Callable[[Stack], None] = lambda stack: None) -> None:
        """Read the voxels of `stacks` that are not known yet, several at a time; `step` is called after each."""
        wanted = {self.key(stack): stack for stack in stacks if not self.known(stack)}
        tasks = [(self._order(stack), self._cache.folder, key) for key, stack in wanted.items()]
        orders = [order for order, _, _ in tasks]
        few = all(order.is_plain for order in orders) and sum(order.size for order in orders) <= FEW_PIXEL_BYTES
        here = few or not possible()
        entries = map(voxels_of, tasks) if here else self._workers.map(voxels_of, tasks, _limit_s)
        for (key, stack), (order, _, _), entry in zip(wanted.items(), tasks, entries, strict=True):
            self._keep(key, order, {"refused": LOST[entry], "passing": True} if isinstance(entry, Lost) else entry)
            step(stack)

    def _keep(self, key: str, order: Order, entry: Entry) -> None:
        """Remember the outcome of an order, in memory only when it is of this moment."""
        if "refused" not in entry and ("unwritten" in entry or self._cache.adopt(key) is None):
            buffer = BytesIO()  # a full disk must not stop the reading
            try:
                entry = {"spare": write_voxels(order, buffer), "passing": True}
                self._arrays[key] = np.load(BytesIO(buffer.getbuffer()), allow_pickle=False)
            except SeriesError as error:
                entry = _refusal(error)
        if entry.get("passing"):
            self._passing[key] = entry
        else:
            self._cache.put(key, entry)

    def _entry(self, key: str) -> Entry | None:
        entry: Entry | None = self._passing.get(key) or self._cache.get(key)
        return entry

    def _array(self, key: str) -> NDArray[np.generic] | None:
        if key not in self._arrays:
            found = self._cache.array(key)
            if found is None:
                return None
            self._arrays[key] = found
        return self._arrays[key]

    def key(self, stack: Stack) -> str:
        """Return the name of the entry of `stack`, which changes whenever one of its files does."""
        files = self._files
        parts = [(plane.file, plane.index) for planes in stack.planes for plane in planes]
        return key_of("stack", ((file, index, files[file].size, files[file].changed) for file, index in parts))

    def _order(self, stack: Stack) -> Order:
        number = {place: i for i, place in enumerate(stack.files)}
        plains = {plane.file: plane.header.plain for planes in stack.planes for plane in planes}
        return Order(
            folder=self._folder,
            files=tuple(self._files[place] for place in stack.files),
            plains=tuple(plains[place] for place in stack.files),
            slices=tuple(
                tuple(Part(number[p.file], p.index, p.frame.slope, p.frame.intercept, p.frame.padding) for p in planes)
                for planes in stack.planes
            ),
            shape=stack.header.shape,
            tiles=stack.header.tiles,
        )


def voxels_of(task: tuple[Order, Path | None, str]) -> Entry:
    """Write the voxels of an order to `folder / f"{key}.npy"` and return their entry; run by a worker."""
    order, folder, key = task
    spare: list[tuple[int, str]] = []
    if folder is None:
        return {"unwritten": True}
    try:
        write_whole(folder / f"{key}.npy", lambda file: spare.extend(write_voxels(order, file)))
    except SeriesError as error:
        return _refusal(error)
    except OSError:
        return {"unwritten": True}
    return {"spare": spare}


def _limit_s(task: tuple[Order, Path | None, str]) -> float:
    order = task[0]
    return LIMIT_S + SECONDS_A_FILE * len(order.files) + order.size / BYTES_A_SECOND
