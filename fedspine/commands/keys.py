"""`fedspine site keys`: a hospital's public key for secure sums, to be put on the consortium's roster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.identity import own_key
from fedspine.errors import InputError
from fedspine.secure.roster import FILE, read_roster, roster_of, roster_text

OUT = Console()


def keys(
    site: Annotated[Path, typer.Argument(help="The site folder.")] = Path(),
    name: Annotated[str, typer.Option(help="What the roster is to call the site; the folder's name if left out.")] = "",
) -> None:
    """Print this hospital's line for the roster of secure sums; the private key is made once and stays here.

    The roster, all hospitals' lines in one file, lies beside site.toml at every hospital, the same to the letter: read
    its digest to each other over the telephone.
    """
    if not site.is_dir():
        raise InputError("SITE must be a folder", "none at the place given", "name a site folder")
    public = own_key(site).public_key().public_bytes_raw()
    line = roster_text(roster_of({name or site.resolve().name: public.hex()})).strip()
    OUT.print(line, markup=False, highlight=False, soft_wrap=True)
    if not (site / FILE).exists():
        _say(f"there is no {FILE} beside site.toml yet")
        return
    roster = read_roster(site / FILE)
    known = next((known for known, key in roster.keys.items() if key == public), None)
    here = f"this site is on it as '{known}'" if known else "this site is NOT on it"
    _say(f"{FILE} names {len(roster.names)} sites, {here}; its digest: {roster.digest()}")


def _say(text: str) -> None:
    OUT.print(f"# {text}", markup=False, highlight=False, soft_wrap=True)
