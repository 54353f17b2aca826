"""Find what a BIDS data set holds, from names alone: images, sidecars and lesion masks.

A site folder is itself a data set when it holds `participants.tsv`, `dataset_description.json` or folders `sub-*`; else
its folder `bids/` is one. Of a data set are read `sub-*/[ses-*/]{anat,dwi,ct}` and `derivatives/*/sub-*`.

Masks are told by name, in any data type: a name that says lesion, tumour or metastasis is a lesion mask. A bare
`_mask`, `_dseg`, `_seg` or `_roi` is none, since the same endings mark cords and brains, and what else the data set
holds cannot tell: whether a patient's mask counts may not depend on other patients' files. `label-vertebrae_dseg` and
the like number the vertebral levels.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedspine.cohort.files import LEAVES, File, files_below, inside
from fedspine.cohort.patient import Rejected

ROOM = "bids"
DERIVATIVES = "derivatives"
DATA_TYPES = ("anat", "dwi", "ct")
IMAGE_ENDINGS = (".nii.gz", ".nii")
SIDECAR_ENDINGS = (".json", ".bval", ".bvec", ".tsv")

LESION = re.compile(r"lesion|tumou?r|metasta[st]|neoplas", re.IGNORECASE)
VERTEBRAE = re.compile(r"vertebra|levels?$|spine$", re.IGNORECASE)
"""Values of the entity `label` of a drawing that numbers the vertebrae."""
MASK_SUFFIXES = frozenset({"mask", "dseg", "seg", "roi", "label", "labels"})
DERIVED_IMAGES = frozenset({"adc"})


@dataclass(frozen=True)
class Item:
    """One file of a data set as its name describes it.

    Args:
        file: the file.
        folders: folders from the data set down to the file.
        subject, session: without `sub-` and `ses-`; empty where the name has none.
        suffix: the last word of the name, such as `T2w`.
        entities: the name's pairs, such as `acq` to `sag`.
        words: the words of the name that are no pairs, the suffix among them.
        ending: `.nii.gz`, `.nii`, `.json`, `.bval`, `.bvec` or `.tsv`.
    """

    file: File = field(repr=False)
    folders: tuple[str, ...] = field(repr=False)
    subject: str = field(repr=False)
    session: str
    suffix: str
    entities: Mapping[str, str] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    ending: str

    @property
    def data_type(self) -> str:
        """The folder that the file lies in."""
        return self.folders[-1] if self.folders else ""

    @property
    def derived(self) -> bool:
        """Whether it lies below `derivatives/`."""
        return bool(self.folders) and self.folders[0] == DERIVATIVES


@dataclass(frozen=True, eq=False)
class Tree:
    """A data set.

    Args:
        images: image files, by subject.
        masks: lesion masks, by subject.
        levels: drawings of vertebral levels, by subject.
        sidecars: JSON, b-value, direction and table files by the folder they lie in.
        participants: place of participants.tsv within the site folder, or `None`.
        rejected: what was passed over.
    """

    images: Mapping[str, Sequence[Item]] = field(default_factory=dict, repr=False)
    masks: Mapping[str, Sequence[Item]] = field(default_factory=dict, repr=False)
    levels: Mapping[str, Sequence[Item]] = field(default_factory=dict, repr=False)
    sidecars: Mapping[tuple[str, ...], Sequence[Item]] = field(default_factory=dict, repr=False)
    participants: str | None = None
    rejected: tuple[Rejected, ...] = field(default=(), repr=False)

    @property
    def files(self) -> int:
        """How many images it holds."""
        return sum(len(items) for items in self.images.values())


def read_tree(folder: Path) -> Tree | None:
    """Return the BIDS data set of a site folder, or `None` where there is none."""
    own = (folder / "participants.tsv").is_file() or (folder / "dataset_description.json").is_file()
    root = "" if own or any(one.is_dir() for one in folder.glob("sub-*")) else ROOM
    start = folder / root
    if root and not start.is_dir():
        return None
    found, rejected = _files(folder, root)
    items = [item for file in found if (item := parsed(file, root)) is not None]
    pictures = [item for item in items if item.ending in IMAGE_ENDINGS]
    images: dict[str, list[Item]] = defaultdict(list)
    masks: dict[str, list[Item]] = defaultdict(list)
    levels: dict[str, list[Item]] = defaultdict(list)
    for item in pictures:
        if _says_lesion(item) or _says_levels(item):
            (masks if _says_lesion(item) else levels)[item.subject].append(item)
            continue
        reason = _no_image(item)
        if reason is not None:
            rejected.append(Rejected(item.file.where, reason))
        elif not item.derived or item.suffix.lower() in DERIVED_IMAGES:
            images[item.subject].append(item)
    sidecars: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in items:
        if item.ending in SIDECAR_ENDINGS:
            sidecars[item.folders].append(item)
    place = f"{root}/participants.tsv".lstrip("/")
    table = place if (folder / place).is_file() else None
    return Tree(images, masks, levels, sidecars, table, tuple(rejected))


def _files(folder: Path, root: str) -> tuple[list[File], list[Rejected]]:
    """Return every file of the data set; of a site folder only the rooms that belong to it."""
    found: list[File] = []
    rejected: list[Rejected] = []
    for entry in sorted((folder / root).iterdir()):
        where = f"{root}/{entry.name}".lstrip("/")
        if entry.name.startswith("sub-") or entry.name == DERIVATIVES:
            more, refused = files_below(folder, where)
            found += more
            rejected += refused
        elif entry.name.endswith(SIDECAR_ENDINGS) and not inside(entry, Path(os.path.realpath(folder))):
            rejected.append(Rejected(where, LEAVES))
        elif entry.name.endswith(SIDECAR_ENDINGS) and entry.is_file():
            stat = entry.stat()
            found.append(File(where, stat.st_size, stat.st_mtime_ns))
    return found, rejected


def parsed(file: File, root: str = "") -> Item | None:
    """Return the name of `file` taken apart, or `None` when it has no part in a data set.

    >>> item = parsed(File("sub-01/ses-2/anat/sub-01_ses-2_acq-sag_T2w.nii.gz", 0, 0))
    >>> item.subject, item.session, item.suffix, item.entities["acq"]
    ('01', '2', 'T2w', 'sag')
    """
    *folders, name = file.where.removeprefix(f"{root}/" if root else "").split("/")
    ending = next((one for one in (*IMAGE_ENDINGS, *SIDECAR_ENDINGS) if name.lower().endswith(one)), None)
    if ending is None:
        return None
    parts = name[: -len(ending)].split("_")
    pairs = [part.partition("-") for part in parts]
    entities = {key.lower(): value for key, dash, value in pairs if dash and value}
    words = tuple(part for part in parts if "-" not in part and part)
    above = dict(one.partition("-")[::2] for one in folders if one.startswith(("sub-", "ses-")))
    subject = above.get("sub", entities.get("sub", ""))
    session = above.get("ses", entities.get("ses", ""))
    suffix = words[-1] if words else ""
    return Item(file, tuple(folders), subject, session, suffix, entities, words, ending)


def _says_lesion(item: Item) -> bool:
    said = [*item.words, *(value for key, value in item.entities.items() if key not in ("sub", "ses"))]
    # a picture may hold the word too (acq-tumour_T2w), so that a raw file must also end like a mask
    named = any(LESION.search(word) for word in said)
    return named and (item.derived or _may_be_mask(item) or bool(LESION.search(item.suffix)))


def _says_levels(item: Item) -> bool:
    return _may_be_mask(item) and bool(VERTEBRAE.match(item.entities.get("label", "")))


def _may_be_mask(item: Item) -> bool:
    return item.suffix.lower() in MASK_SUFFIXES or "seg" in item.entities


def _no_image(item: Item) -> str | None:
    """Return why a NIfTI file is neither an image nor a mask, or `None` for an image and for what is derived."""
    if not item.subject:
        return "a file of a BIDS data set must name its subject; found one without sub-; name it sub-LABEL_…."
    if _may_be_mask(item):
        return OTHER_MASK
    if item.derived:
        return None if item.suffix.lower() in DERIVED_IMAGES else DERIVED
    if item.data_type not in DATA_TYPES:
        return "an image in a BIDS data set must lie in anat/, dwi/ or ct/; found another; nothing is lost."
    named = item.entities.get("sub", item.subject)
    if named != item.subject:
        return "a file of a BIDS data set must name the subject of its folder; found another; rename it."
    return None


OTHER_MASK = (
    "a mask in a BIDS data set must say that it is of the lesion; found one that does not; name it "
    "label-lesion_mask if it is."
)
DERIVED = "an image below derivatives/ is used if it is an ADC map or a lesion mask; found another; nothing is lost."
