"""Who trains and who tests in a study: k folds by patient with classes in balance, or one site left out in turn.

For studies on one machine, where all patients are in one hand; a federation decides one patient at a time
(`cohort.split`), since its privacy proof needs that.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from fedspine.errors import InputError


@dataclass(frozen=True)
class Fold:
    """One split; both sides are indices into the list that was split, in ascending order.

    Args:
        train: who trains.
        test: who tests; of nobody in it is anything else in `train`.
        name: what is left out: the number of the fold from 1, or the site.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    name: str


def patient_folds(
    strata: Sequence[Hashable], k: int, *, patients: Sequence[Hashable] | None = None, seed: int = 0
) -> list[Fold]:
    """Return k folds in which every entry is tested once, by scikit-learn's `StratifiedGroupKFold`.

    Args:
        strata: of each entry, what is held in balance over the folds: a label, or a tuple such as (site, label).
        k: folds, at least 2 and at most as many as there are patients.
        patients: of each entry, whose it is; all entries of a patient (series, time points) fall on the same side.
            Every entry is a patient of its own if left out.
        seed: of the shuffle.

    Raises:
        InputError: if there are fewer patients than folds.

    >>> sorted(fold.test for fold in patient_folds(["tumour", "none"] * 3, 3, patients=["a", "b", "c", "d", "a", "b"]))
    [(0, 4), (1, 5), (2, 3)]
    """
    whose = list(range(len(strata))) if patients is None else list(patients)
    groups = _codes(whose)
    people = len(set(groups))
    if len(whose) != len(strata) or k < 2 or people < k:
        raise InputError(
            "there must be at least two folds and a patient for each", f"{people} patients", "ask for less"
        )
    splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class of fewer patients than folds cannot be in each: it is spread as far as it goes
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splits = list(splitter.split(np.zeros(len(groups)), _codes(strata, minimum=k), groups))
    return [_fold(train, test, str(number)) for number, (train, test) in enumerate(splits, start=1)]


def site_folds(sites: Sequence[str], patients: Sequence[Hashable] | None = None) -> list[Fold]:
    """Return a fold per site, in order of their names, that tests on this site and trains on all others.

    Args:
        sites: of each entry.
        patients: of each entry, whose it is; a patient whom two sites know is left out of training wherever that
            patient is tested.

    >>> site_folds(["b", "a", "b"])
    [Fold(train=(0, 2), test=(1,), name='a'), Fold(train=(1,), test=(0, 2), name='b')]
    """
    if len(set(sites)) < 2:
        raise InputError("to leave one site out there must be two", f"{len(set(sites))}", "name another site's folder")
    folds = []
    for train, test in LeaveOneGroupOut().split(np.zeros(len(sites)), groups=np.array(sites)):
        tested = set() if patients is None else {patients[index] for index in test}
        apart = [index for index in train if patients is None or patients[index] not in tested]
        folds.append(_fold(np.array(apart, dtype=np.int64), test, sites[int(test[0])]))
    return folds


def _fold(train: NDArray[np.int64], test: NDArray[np.int64], name: str) -> Fold:
    return Fold(tuple(int(i) for i in sorted(train)), tuple(int(i) for i in sorted(test)), name)


def _codes(values: Sequence[Hashable], minimum: int = 1) -> list[int]:
    """Return a number for each distinct value, in the order in which they come.

    Args:
        values: of any kind that can be told apart.
        minimum: values that are rarer than this share one number, for scikit-learn refuses to split when all of them
            are rarer than the number of folds.
    """
    common = [value for value in dict.fromkeys(values) if values.count(value) >= minimum]
    numbers = {value: number for number, value in enumerate(common)}
    return [numbers.get(value, len(common)) for value in values]
