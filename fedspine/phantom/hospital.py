"""What is peculiar to a phantom hospital: scanners, case mix, naming. It causes the image, never the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedspine.phantom.genome import CLASSES
from fedspine.phantom.scanner import SCANNERS, ScannerModel

STYLES: tuple[dict[str, str], ...] = (
    {"T1": "SAG T1", "T1c": "SAG T1 +C", "T2": "SAG T2", "STIR": "SAG STIR", "ADC": "SAG ADC"},
    {"T1": "t1_tse_sag", "T1c": "t1_tse_sag post GD", "T2": "t2_tse_sag", "STIR": "stir_sag", "ADC": "diff_sag_ADC"},
    {"T1": "Sag T1 FSE", "T1c": "Sag T1 FSE C+", "T2": "Sag T2 FSE", "STIR": "Sag STIR", "ADC": "Sag DWI ADC"},
    {"T1": "T1W_TSE SAG", "T1c": "T1W_TSE SAG KM", "T2": "T2W_TSE SAG", "STIR": "STIR SAG", "ADC": "dADC SAG"},
)
"""How hospitals name their series."""


@dataclass(frozen=True)
class Hospital:
    """One phantom hospital.

    Args:
        number: counted from 1; 0 for everywhere.
        scanners: one or more.
        mix: probability of each of `genome.CLASSES`.
        style: series descriptions by contrast.
    """

    number: int
    scanners: tuple[ScannerModel, ...]
    mix: tuple[float, ...]
    style: dict[str, str]

    @property
    def name(self) -> str:
        """The site's name."""
        return f"site-{self.number}"


EVERYWHERE = Hospital(0, SCANNERS, (1 / 3, 1 / 3, 1 / 3), STYLES[0])
"""Where public phantoms are examined: on any scanner, every class as often."""


def hospital_of(number: int, seed: int) -> Hospital:
    """Return hospital `number` of a consortium: always the same one for a seed."""
    generator = np.random.default_rng([seed, number])
    count = 1 + int(generator.random() < 0.5)
    first = (number - 1) % len(SCANNERS)  # neighbours differ in vendor or field
    chosen = [first, *(int(i) for i in generator.permutation(len(SCANNERS)) if i != first)][:count]
    mix = generator.dirichlet([8.0] * len(CLASSES))
    return Hospital(number, tuple(SCANNERS[i] for i in chosen), tuple(mix.tolist()), STYLES[(number - 1) % len(STYLES)])


def draw_label(stream: np.random.Generator, *, hospital: Hospital) -> str:
    """Draw the class of the next patient from the hospital's case mix."""
    return str(stream.choice(CLASSES, p=hospital.mix))


def draw_scanner(stream: np.random.Generator, *, hospital: Hospital) -> ScannerModel:
    """Draw the scanner of the hospital on which an examination takes place."""
    return hospital.scanners[int(stream.integers(len(hospital.scanners)))]
