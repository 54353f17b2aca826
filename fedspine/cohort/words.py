"""The words of a series' free text that say what it shows, in the languages of the hospitals that write it.

Each *word* here is a meaning with the spellings that carry it: German, English, French, Spanish, Italian, Portuguese,
Dutch, Turkish, Polish, Chinese and Japanese ones, vendors' sequence names and the usual abbreviations. Whatever else a
text says (names, dates, body parts, doctors' remarks) has no word here, so that `clean_words` leaves nothing of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

SEPARATOR = ", "

SPELLINGS: tuple[tuple[str, str], ...] = (
    ("localizer", r"loc\b|locali[sz]|lokali[sz]|scout|survey|pilot|topogram|reperage|centrage|planung"),
    ("calibration", r"field.?map|b[01].?map|shim|[ck]alib"),
    ("exponential", r"exp\b|exponential|e-?adc"),
    ("adc", r"adc|apparent diff|coefficiente? d\w* diff|coefficient\w* de diff|cda\b"),
    ("anisotropy", r"fa\b|colfa|tensor|anisotrop|fractional"),
    ("subtraction", r"sub\b|subtr|sottr|sustr|resta\b"),
    ("projection", r"(mip|minip|mpr thick|projected|projection)\b"),
    ("fatonly", r"fat ?:|fat.?only|dixon.* f$"),
    ("opposed", r"oppos|opp\b|opp.?phase|out.?(of.?)?phase"),
    ("dwi", r"dwi|tracew?\b|dti|dt high|diff|difu|difuz|dif\b|dw|ep b[1-9]\d*|dyfuz"),
    ("b0", r"ep b0|b ?=? ?0+\b"),
    ("epi", r"epi\b|epfid|ep2d|se-?epi|fmri|bold"),
    ("susceptibility", r"t2 ?(\*|star)|t2s\b|medic\b|merge\b|m-?ffe|swi\b|swan\b|suscept|hemo\b"),
    ("bssfp", r"fiesta|ciss|tru.?fi|b-?ffe|bssfp"),
    ("angiography", r"tof\b|angio|mra\b|pc\b"),
    ("t1flair", r"t1.?flair"),
    ("mprage", r"mp-?rage|tfl3d"),
    ("flair", r"(t2.?)?flair|dark.?fluid"),
    ("stir", r"(t2.?)?stir|(t2.?)?tirm"),
    ("spair", r"a?spair|aspir|spir\b"),
    ("density", r"pd\b|pdw|proton|dp\b|densit|densid"),
    ("t1", r"t1"),
    ("t2", r"t2"),
    (
        "precontrast",
        r"(pre|prae?)\b(?! ?-?op)|(nativ[eoa]?|plain|unenhanced|vorher)\b|w/?o\b|without|-c\b|s/c\b"
        r"|pre.?(contrast|kontrast|gd|gad|km|inj)"
        r"|(ohne|vor|kein|senza|sin|sem|sans|avant|antes de|prima d\w+|zonder|voor|bez|przed|non?|before)"
        r"[ -.]?(i\.?v\.? ?)?(l'|la |el |o |de )?(contr|kontr|km\b|gd\b|gad|inj|mdc\b|mezzo|agent|produto|produit)"
        r"|s/ ?contr|[ck]ontrasts[iu]z|onces",
    ),
    (
        "contrast",
        r"post\b(?! ?-?op)|post.?(gd|gad|inj|km|contr|kontr)|gd\b|gad|[ck]ontr|ce\b|km\b|mdc\b|with c\b"
        r"|inject|injekt|inyec|iniez|injec|c/ ?c\b|p\.c\.|t1(c|ce|gd|km|kontr|post)\b"
        r"|dotarem|magnev|omnisc|prohance|multihance|clarisc|elucir|vueway",
    ),
)
"""Word and spellings. A spelling starts where no letter or digit stands before it; `\\b` where it must end."""

_PATTERNS = tuple((word, re.compile(rf"(?<![a-z0-9])(?:{pattern})")) for word, pattern in SPELLINGS)
# spellings that may follow a letter or digit
_ANYWHERE = (
    ("contrast", re.compile(r"\+ ?(c|km|gd|gad\w*|contr\w*|kontr\w*)\b|\bc ?\+|增强|增強|造影")),
    ("precontrast", re.compile(r"平扫|平掃|単純|单纯")),
)


def words_in(text: str) -> frozenset[str]:
    """Return the words that `text` says, in whatever case, accents or language.

    >>> sorted(words_in("t1_tse_sag nach KM")), sorted(words_in("T2 sin contraste"))
    (['contrast', 't1'], ['precontrast', 't2'])
    """
    folded = _folded(text)
    found = {word for word, pattern in (*_PATTERNS, *_ANYWHERE) if pattern.search(folded)}
    # what says "without contrast" also says "contrast"
    return frozenset(found - {"contrast"} if "precontrast" in found else found)


def clean_words(text: str) -> str:
    """Return `text` without anything but the words that the rules of `cohort.contrast` look for.

    Cleaning twice changes nothing, and the rules find the same contrast in the clean text.

    >>> clean_words("Doe^Jane t1_tse SAG +KM 12.3.1970")
    't1, contrast'
    """
    return spelled(words_in(text))


def spelled(words: Iterable[str]) -> str:
    """Return `words` as one text in a fixed order."""
    known = set(words)
    return SEPARATOR.join(word for word, _ in SPELLINGS if word in known)


def _folded(text: str) -> str:
    """Return `text` in lower case, without accents, underscores as blanks."""
    parts = unicodedata.normalize("NFKD", text.replace("ı", "i").replace("ł", "l")).casefold()
    return "".join(part for part in parts if not unicodedata.combining(part)).replace("_", " ")
