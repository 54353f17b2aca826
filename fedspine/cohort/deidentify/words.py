"""Clean a description: words of acquisition and anatomy survive, names, numbers and everything else go."""

from __future__ import annotations

import re

UNITS = (
    "t1 t2 t2star pd proton density flair dark fluid stir tirm spair spir fatsat fat sat fs water opp in out phase adc "
    "apparent diff diffusion dwi dti trace tensor fa colfa epi ep2d epfid fmri bold tse fse tfse se ge gre ffe tfe bffe "
    "mffe merge medic swi vibe lava dixon flash spgr mprage mp rage tfl space cube vista fiesta ciss trufi bssfp haste "
    "ssfse tof angio loc localizer localiser locator scout survey pilot topogram shim calib calibration fieldmap field "
    "map b0 b1 mip mpr thick projected sub subtr subtraction exp exponential eadc sag sagittal sagt cor coronal kor tra "
    "tr trans transversal ax axial obl oblique spine cord cervical thoracic lumbar sacral csp tsp lsp ctl cspine tspine "
    "lspine hws bws lws wirbel rachis columna neck head brain chest lung body whole total pre post without with w o "
    "wo native nativ ohne mit non unenhanced enhanced contrast kontrast gd gad gado gadolinium ce km c dyn dynamic late "
    "2d 3d 4d iso hr high low res fast short long motion corr nd dis dis2d dis3d norm mod m p r i x fb bh trig rt"
)
_UNIT = re.compile("|".join(sorted(UNITS.split(), key=len, reverse=True)) + r"|(?<=[a-z])\d{1,4}")
_WORD = re.compile(r"[^\W_]+")
_STRANGE = re.compile(r"[^a-z0-9*+/.\- ]")


def clean_words(text: str) -> str:
    """Return the known words of a description in lower case.

    >>> clean_words("t2_tse_sag MEIER 4711"), clean_words("SAG T1 +C Dr. Who")
    ('t2 tse sag', 'sag t1 +c .')
    """
    kept = _WORD.sub(lambda word: _known(word.group()), text.lower().replace("_", " "))
    return " ".join(_STRANGE.sub(" ", kept).split())


def _known(word: str) -> str:
    """Return `word` as far as it is made of known units."""
    end = 0
    while (unit := _UNIT.match(word, end)) is not None:
        end = unit.end()
    return word[:end] if end == len(word) or end > 2 else ""
