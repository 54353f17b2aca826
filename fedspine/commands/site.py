"""`fedspine site`: what a hospital's privacy officer permits, in plain words and on record."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from client.approvals import APPROVED, REVOKED, Approvals, Known
from fedspine.commands.egress import LEDGER, ROOM
from fedspine.commands.keys import keys
from fedspine.commands.permission import Permission, look_at, words_on
from fedspine.config import Plan, load_plan
from fedspine.errors import ConfigError, InputError
from fedspine.plans.shipped import find_plan
from fedspine.privacy.calibrate import calibrate
from fedspine.privacy.ledger import Ledger
from fedspine.site_file import load_site

OUT = Console()

site_app = typer.Typer(help="What may run at a hospital.", no_args_is_help=True)
site_app.command("keys")(keys)

SiteFolder = Annotated[Path, typer.Option("--site", help="The site folder; the current one if left out.")]
State = Annotated[Path | None, typer.Option(help="Where the books lie; SITE/.fedspine if left out.")]
By = Annotated[str, typer.Option(help="Who decides; stays at the hospital. The account's name if left out.")]


@site_app.command()
def approve(
    plan: Annotated[str, typer.Argument(help="The plan's file, as the coordinator sent it.")],
    site: SiteFolder = Path(),
    state: State = None,
    by: By = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not count what would leave; saves a minute.")] = False,
) -> None:
    """Show what a plan would release and cost here, ask, and write down that it may run.

    From then on only plans that were approved run at this hospital.
    """
    agreed = _complete(calibrate(load_plan(find_plan(plan))))
    books = _books(site, state)
    with OUT.status("counting what would leave") as status:
        ledger = Ledger(books / LEDGER)
        tell = (lambda stage: status.update(f"counting what would leave: {stage}")) if not quick else None
        found = look_at(agreed, load_site(site), ledger.entries(), tell)
    _show(agreed, found, Approvals(books / "approvals.jsonl"))
    if not yes and not typer.confirm("May it run?"):
        OUT.print("nothing was written")
        raise typer.Exit(1)
    approvals = Approvals(books / "approvals.jsonl")
    approvals.approve(agreed, by=by or getpass.getuser(), booked=len(ledger.entries()), cost=found.cost())
    _say(f"approved; take it back with: fedspine site revoke {agreed.digest()[:12]} --site {site}")


@site_app.command()
def approvals(
    site: Annotated[Path, typer.Argument(help="The site folder.")] = Path(),
    state: State = None,
) -> None:
    """List the plans that a hospital knows: approved, revoked, or enrolled without a word."""
    table = Table("plan", "digest", "state", "by", "when", box=None)
    for one in Approvals(_books(site, state) / "approvals.jsonl").plans().values():
        table.add_row(plain(one.name), one.digest[:12], one.state, plain(one.by), one.time)
    OUT.print(table if table.row_count else "no plan is known here")


@site_app.command()
def revoke(
    digest: Annotated[str, typer.Argument(help="Of the plan, or how it begins; fedspine site approvals shows it.")],
    site: SiteFolder = Path(),
    state: State = None,
    by: By = "",
) -> None:
    """Withdraw a plan: from now on it is refused, in the middle of a run too. What has left cannot be called back."""
    gone = Approvals(_books(site, state) / "approvals.jsonl").revoke(digest, by=by or getpass.getuser())
    _say(f"plan '{plain(gone.name)}' ({gone.digest[:12]}) may not run here any more")


def _complete(plan: Plan) -> Plan:
    if not plan.data.contrasts:
        rule = "a plan to approve must name its contrasts, as the one that the coordinator sends does"
        raise ConfigError(rule, "none", "ask for the file that will be run, or take plan.toml of a run folder")
    return plan


def _books(site: Path, state: Path | None) -> Path:
    if not site.is_dir():
        raise InputError("SITE must be a site folder", "no folder at the place given", "name the hospital's folder")
    return state or site / ROOM


def _show(plan: Plan, found: Permission, approvals: Approvals) -> None:
    _say(f"plan '{plain(plan.name)}', digest {plan.digest()}")
    counted = any(row.extent for row in found.rows)
    sizes = ("numbers a round", "bytes in all") if counted else ()
    table = Table("stage", "a sum over", "releases", *sizes, "epsilon alone")
    table.title, table.title_justify = "what would leave", "left"
    for row in found.rows:
        table.add_row(*map(plain, row.cells(counted=counted)))
    OUT.print(table)
    for sentence in words_on(plan, found):
        _say(sentence)
    known = approvals.plans()
    same = known.get(plan.digest())
    if same is not None:
        _say(f"this plan is known here: {same.state} {_by(same)}on {same.time}")
    for one in known.values():
        if one.name == plan.name and one.digest != plan.digest() and one.state != REVOKED:
            then = "stays so" if one.state == APPROVED else "will be refused from now on"
            _say(f"another plan of this name is {one.state} here ({one.digest[:12]}, {one.time}) and {then}")


def _by(one: Known) -> str:
    return f"by {plain(one.by)} " if one.by else ""


def _say(sentence: str) -> None:
    OUT.print(sentence, markup=False, highlight=False, soft_wrap=True)


def plain(text: str) -> str:
    """Return `text`, which others may have written, without what a terminal would obey.

    >>> plain("a[red]b\\x1b[2J")
    'a(red)b?(2J'
    """
    return "".join(c if c.isprintable() else "?" for c in text).replace("[", "(").replace("]", ")")
