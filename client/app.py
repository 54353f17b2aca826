"""A hospital's Flower ClientApp. Handlers hold no machine learning: they unpack, call `client.rounds`, and pack.

No exception leaves a handler: Flower would send its text to the server, and a library's text may quote a patient's
file. The server gets a code of `client.policy.CODES`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.egress import Gate
from client.hospital import Hospital
from client.masked import answer_masked, offer_key
from client.orders import read_enrolment, read_order, read_secure, stage_of
from client.policy import CODES
from client.rounds import answer, enrol
from client.work import Answer
from fedspine.errors import BudgetSpent, ConfigError, EgressBlocked, InputError, PrivacyError, Refused
from fedspine.phantom.embedded import embedded_sites
from fedspine.wire import ARRAYS, NUMBERS

ERROR_CODE = 100
"""Flower's numeric code of every refusal; the reason holds the word."""


def build_app(hospital_of: Callable[[Context], Hospital]) -> ClientApp:
    """Return the ClientApp of the hospital that `hospital_of` finds for a message's context."""
    app = ClientApp()

    @app.query("enrol")
    def _enrol(message: Message, context: Context) -> Message:
        return _guarded(
            message,
            context,
            hospital_of,
            lambda hospital: enrol(hospital, read_enrolment(message, hospital.policy())),
        )

    @app.train("stage")
    def _stage(message: Message, context: Context) -> Message:
        return _guarded(
            message, context, hospital_of, lambda hospital: answer(hospital, read_order(message, hospital.policy()))
        )

    @app.query("keys")
    def _keys(message: Message, context: Context) -> Message:
        return _guarded(
            message,
            context,
            hospital_of,
            lambda hospital: offer_key(hospital, *read_secure(message, hospital.policy())),
        )

    @app.train("masked")
    def _masked(message: Message, context: Context) -> Message:
        return _guarded(
            message,
            context,
            hospital_of,
            lambda hospital: answer_masked(hospital, *read_secure(message, hospital.policy())),
        )

    return app


def configured_hospital(context: Context) -> Hospital:
    """Return the hospital that a SuperNode's `--node-config` names, or the one that a simulation numbers.

    `site="…"` is the site folder; `state="…"` where ledger and logs lie (default: `.fedspine` in the site folder).
    Without `site`, `partition-id` is Flower's simulation, and the run's `data` setting the folder of site folders.
    """
    node = context.node_config
    if "site" in node:
        folder = Path(str(node["site"])).resolve()
        return Hospital(folder, Path(str(node.get("state", folder / ".fedspine"))))
    if "partition-id" not in node:
        raise ConfigError(
            "a SuperNode must name its site folder", "no 'site'", "start it with --node-config 'site=\"…\"'"
        )
    number, run = int(node["partition-id"]), run_folder(context)
    folders = site_folders(
        Path(str(context.run_config["data"])) if context.run_config["data"] else embedded_sites(run, 0)
    )
    if number >= len(folders):
        raise ConfigError("a simulation must have a site folder per node", f"{len(folders)}", "lower num-supernodes")
    return Hospital(folders[number], run / "sites" / folders[number].name, partition=number)


def run_folder(context: Context) -> Path:
    """Return the run folder of Flower's own simulation: the run setting `out`, or one below the home directory."""
    return Path(str(context.run_config["out"] or Path.home() / ".fedspine" / "runs" / str(context.run_id)))


def site_folders(parent: Path) -> list[Path]:
    """Return the site folders below `parent`, in the order that numbers them."""
    return sorted(p.resolve() for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _guarded(
    message: Message,
    context: Context,
    hospital_of: Callable[[Context], Hospital],
    work: Callable[[Hospital], Answer],
) -> Message:
    hospital = None
    try:
        hospital = hospital_of(context)
        return _packed(work(hospital), message)
    except Exception as error:  # the last line of defence: no exception text may reach the server
        code = _code(error)
        if hospital is not None:
            with suppress(Exception):  # a full disk must not turn into a text that leaves
                stage = stage_of(message)
                hospital.note_error(stage, code, error)
                Gate(hospital.egress_log).refuse(stage, code)
        return Message(Error(ERROR_CODE, code), reply_to=message)


def _code(error: Exception) -> str:
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (BudgetSpent, "budget-spent"),
        (PrivacyError, "ledger-broken"),
        (EgressBlocked, "egress-blocked"),
        (ConfigError, "plan-unusable"),
        (InputError, "failed"),
    )
    if isinstance(error, Refused) and error.code in CODES:
        return error.code
    return next((code for kind, code in kinds if isinstance(error, kind)), "failed")


def _packed(result: Answer, message: Message) -> Message:
    content = RecordDict(
        {
            ARRAYS: ArrayRecord(dict(result.arrays)) if result.arrays else ArrayRecord(),
            NUMBERS: MetricRecord(dict(result.numbers)),
        }
    )
    return Message(content, reply_to=message)


app = build_app(configured_hospital)
