"""The plans that come with fedspine, by name."""

from __future__ import annotations

from pathlib import Path

from fedspine.config import read_text
from fedspine.errors import ConfigError
from fedspine.strict import suggestion

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


def find_plan(where: str) -> str:
    """Return the text of the plan that `where` names: a file, or one of `NAMES`."""
    path = Path(where)
    if not path.exists() and path.suffix != ".toml" and path.name == where:
        if where not in NAMES:
            rule = "a plan must be a file or the name of one that comes with fedspine"
            raise ConfigError(rule, "neither", suggestion(where, NAMES))
        path = FOLDER / f"{where}.toml"
    return read_text(path, "the plan")
