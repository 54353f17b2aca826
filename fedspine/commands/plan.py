"""`fedspine plan price`: what a plan costs a patient, before it starts; the noise for a budget; the budget's split."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from fedspine.config import HELD_OUT, Plan, load_plan, plan_text

if TYPE_CHECKING:
    from fedspine.privacy.price import Price

OUT = Console()
plan_app = typer.Typer(help="Look at a plan before it starts.", no_args_is_help=True)


@plan_app.callback()
def _plan() -> None:
    """Look at a plan before it starts."""


@plan_app.command("price")
def price_command(
    plan: Annotated[str, typer.Argument(help="A TOML file, or the name of a plan that comes with fedspine.")],
    patients: Annotated[int, typer.Option(help="Patients of one site.", min=1)],
    epsilon: Annotated[
        float | None, typer.Option(help="Solve the noise of every stage anew, to cost this much.", min=1e-3)
    ] = None,
    best_split: Annotated[
        bool, typer.Option("--best-split", help="Find the shares at which noise spoils the stages least, in all.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the plan there, its noise filled in.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a plan costs a patient, stage by stage and in all, and how much noise that leaves; needs no patient."""
    from fedspine.plans.shipped import find_plan
    from fedspine.privacy import price as pricing

    agreed = load_plan(find_plan(plan))
    if epsilon is not None:
        agreed = pricing.solved_for(agreed, epsilon)
    split: dict[str, Any] | None = None
    if best_split and agreed.privacy.mechanism != "none":
        agreed, split = _best(agreed, Path(plan).parent, patients, quiet=as_json)
    found = pricing.price(agreed, patients)
    if out is not None:
        out.write_text(plan_text(found.plan), encoding="utf-8")
    if as_json:
        print(json.dumps(_as_dict(found, split), indent=1, allow_nan=False))
        return
    _show(found)
    if split is not None:
        _show_split(found.plan, split)
    if out is not None:
        OUT.print(f"written: {out}", soft_wrap=True, highlight=False)


def _best(plan: Plan, folder: Path, patients: int, *, quiet: bool) -> tuple[Plan, dict[str, Any]]:
    """Return the plan with its best split, and what `privacy.price.spoilt` is before and after."""
    import torch

    from fedspine.commands.entries import entries
    from fedspine.plans.default import phantom_data
    from fedspine.privacy.calibrate import calibrate
    from fedspine.privacy.price import best_split, spoilt

    torch.set_num_threads(1)
    told = (lambda done, total: None) if quiet else _tell_progress
    sizes = entries(replace(plan, data=phantom_data(plan.data)), folder, told)
    before, after = calibrate(plan), best_split(plan, sizes)
    folds = dict.fromkeys(stage.fold for stage in plan.stage)
    spoils = {fold: (spoilt(before, fold, sizes, patients), spoilt(after, fold, sizes, patients)) for fold in folds}
    return after, {"entries": sizes, "spoilt": spoils}


def _tell_progress(done: int, total: int) -> None:
    if done == 0:
        OUT.print(f"counting what {total} stages release, with phantoms: a minute or so", highlight=False)


def _show(found: Price) -> None:
    from fedspine.privacy.accounting import ASSUMPTION

    privacy = found.plan.privacy
    OUT.print(f"plan '{found.plan.name}', a site of {found.patients} patients", soft_wrap=True, highlight=False)
    if privacy.mechanism == "none":
        OUT.print('NO PRIVACY: the plan says mechanism = "none"; epsilon is infinite', style="bold red")
        return
    OUT.print(_stages(found))
    OUT.print(_folds(found))
    OUT.print(f"[bold]Assumes[/bold]: {ASSUMPTION}.", highlight=False)
    OUT.print(
        f"[bold]delta[/bold] {privacy.delta:g}, beside one over the number of patients: {1 / found.patients:.2g}",
        highlight=False,
    )
    if found.delta_too_large:
        OUT.print(
            "delta is one over the number of patients or more: a mechanism that gives one patient away whole would "
            "pass; lower it",
            style="bold red",
        )


def _stages(found: Price) -> Table:
    table = Table(box=box.SIMPLE, title="Each stage", title_justify="left", pad_edge=False)
    for name in ("stage", "patients", "noise σ", "rate", "releases", "epsilon", "in a mean"):
        table.add_column(name, justify="left" if name in ("stage", "patients") else "right")
    for stage in found.stages:
        event = stage.event
        table.add_row(
            stage.name,
            "held out" if stage.fold == HELD_OUT else "training",
            f"{event.noise_multiplier:.3g}",
            f"{event.sample_rate:g}",
            f"{event.count}",
            f"{stage.epsilon:.2f}",
            f"{stage.noise_in_mean:.1%}",
        )
    table.caption = (
        "epsilon: of the stage alone (PLD). In a mean: noise in each number of the mean over the site's patients, all "
        "steps together, in per cent of the most that one patient may say."
    )
    table.caption_justify = "left"
    return table


def _folds(found: Price) -> Table:
    table = Table(box=box.SIMPLE, title="All stages together", title_justify="left", pad_edge=False)
    table.add_column("what a patient pays")
    for fold in found.folds:
        name = "held out" if fold.fold == HELD_OUT else "in training"
        table.add_column(f"{name}, about {fold.patients}", justify="right")
    rows = [
        ("epsilon by PLD: the claim", [f"{f.pld:.2f}" for f in found.folds]),
        ("epsilon by RDP: stops a site", [f"{f.rdp:.2f}" for f in found.folds]),
        ("sum of the stages' epsilons", [f"{f.alone:.2f}" for f in found.folds]),
        ("composing them saves", [f"{f.saved:.0%}" for f in found.folds]),
        ("attack finds, 1 % false alarms", [_share(f.true_positives) for f in found.folds]),
        ("attack is right (coin: 50 %)", [_share(f.accuracy) for f in found.folds]),
    ]
    for name, values in rows:
        table.add_row(name, *values)
    table.caption = (
        "A patient is in training or held out, never both, and pays one of the two. An attack guesses who took part: "
        "the two last rows are what the best one possible can reach, whatever it knows."
    )
    table.caption_justify = "left"
    return table


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0%}"


def _show_split(plan: Plan, split: dict[str, Any]) -> None:
    OUT.print(
        "\n[bold]Best split[/bold]: least sum over the stages of (noise / signal)², where a stage that releases P "
        "numbers in T steps has √P·σ/(q·√T·N), its signal at its largest. Every stage counts alike.",
        highlight=False,
    )
    for fold, (before, after) in split["spoilt"].items():
        OUT.print(f"{fold}: {before:.3g} with the plan's own shares, {after:.3g} with these", highlight=False)
    OUT.print("To paste into the plan:\n", highlight=False)
    for stage in plan.stage:
        OUT.print(
            f"share = {stage.share:g}  # {stage.name}, {split['entries'][stage.name]} numbers",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _as_dict(found: Price, split: dict[str, Any] | None) -> dict[str, Any]:
    """Return the price as JSON has it; what is infinite is null."""
    from fedspine.privacy.accounting import ASSUMPTION

    privacy = found.plan.privacy
    written: dict[str, Any] = {
        "plan": found.plan.name,
        "mechanism": privacy.mechanism,
        "patients": found.patients,
        "delta": privacy.delta,
        "delta_too_large": found.delta_too_large,
        "assumption": ASSUMPTION,
        "stages": [asdict(stage) for stage in found.stages],
        "folds": [{**asdict(fold), "saved": fold.saved} for fold in found.folds],
    }
    if split is not None:
        written["split"] = {**split, "share": {stage.name: stage.share for stage in found.plan.stage}}
    plain: dict[str, Any] = _finite(written)
    return plain


def _finite(value: Any) -> Any:
    """Return `value` with numbers that JSON cannot say as `None`."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
