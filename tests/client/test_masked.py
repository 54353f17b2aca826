"""A hospital's part of a secure sum: one key for one attempt, and no sum of its own under a plan with masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from client.attempts import Attempts
from client.hospital import Hospital
from client.identity import identity, own_key
from client.limits import words_limit
from client.masked import Asked, answer_masked, offer_key
from client.policy import CODES
from client.rounds import answer, enrol
from client.work import Order
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.errors import EgressBlocked, Refused
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from fedspine.privacy.chain import read
from fedspine.secure.keys import MOST_ATTEMPTS, Context, offer
from fedspine.secure.roster import FILE, roster_of, roster_text
from fedspine.tasks._task import public_values

STAGES = (
    Stage("standardise", "standardise", noise_multiplier=4.0),
    Stage("harmonise", "harmonise", noise_multiplier=4.0),
)
PLAN = Plan("masked", privacy=PrivacyPlan(sums="secure"), stage=STAGES)
PLAN = replace(PLAN, data=replace(phantom_data(PLAN.data), size=32, slices=2))
SHARED = public_values(PLAN, STAGES[0], {})
CONTEXT = Context(PLAN.digest(), "standardise", 1, 1, "00" * 32, ("a", "b", "c"))


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    assert caught.value.code in CODES
    return caught.value.code


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("masked") / "sites"
    write_consortium(folder, sites=3, patients=3, shape=(2, 32, 32))
    return tuple(sorted(folder.iterdir()))


@pytest.fixture
def hospitals(folders: tuple[Path, ...], tmp_path: Path) -> list[Hospital]:
    """Return three hospitals that have enrolled."""
    found = [Hospital(folder, tmp_path / "run" / "sites" / folder.name, i) for i, folder in enumerate(folders)]
    assert [enrol(one, PLAN).numbers["roster"] for one in found] == [0.0, 1.0, 2.0]
    return found


def order(stage: str = "standardise") -> Order:
    return Order(PLAN, stage, 1, {}, SHARED)


def keys_of(hospitals: list[Hospital], attempt: int = 1) -> bytes:
    offers = [offer_key(one, order(), Asked(attempt, (0, 1, 2))).arrays["offer"] for one in hospitals]
    return b"".join(one.numpy().tobytes() for one in offers)


def test_an_answer_is_booked_with_both_guarantees_and_logged_with_its_payment(hospitals: list[Hospital]) -> None:
    asked = Asked(1, (0, 1, 2), keys_of(hospitals), 32)
    one = answer_masked(hospitals[0], order(), asked)
    (entry,) = hospitals[0].ledger.entries()
    assert entry.event.mechanism == "skellam"
    assert entry.event.noise_multiplier == 4.0
    assert entry.event.dimension == len(one.arrays["masked"])
    assert entry.coalition == replace(entry.event, noise_multiplier=4.0 / 2**0.5)
    lines = read(hospitals[0].egress_log, "the egress log")
    (paid,) = read(hospitals[0].state / "ledger.jsonl", "the ledger")
    assert [line["mechanism"] for line in lines] == ["public", "public", "skellam"]
    assert [line["ledger"] for line in lines] == ["", "", paid["hash"]]


def test_a_key_masks_one_vector_and_a_second_request_is_refused(hospitals: list[Hospital]) -> None:
    asked = Asked(1, (0, 1, 2), keys_of(hospitals), 32)
    answer_masked(hospitals[0], order(), asked)
    assert code_of(lambda: answer_masked(hospitals[0], order(), asked)) == "attempt-used"
    assert code_of(lambda: answer_masked(hospitals[0], order(), replace(asked, bits=64))) == "attempt-used"
    assert code_of(lambda: offer_key(hospitals[0], order(), Asked(1, (0, 1, 2)))) == "attempt-used"
    assert len(hospitals[0].ledger.entries()) == 1
    left = [file.read_bytes() for file in (hospitals[0].state / "secure").iterdir()]
    assert left == [b""]


def test_a_swapped_key_costs_nothing_and_gets_nothing(hospitals: list[Hospital]) -> None:
    keys = keys_of(hospitals)
    its_own = X25519PrivateKey.generate().public_key().public_bytes_raw()
    swapped = keys[:96] + its_own + keys[128:]
    assert code_of(lambda: answer_masked(hospitals[0], order(), Asked(1, (0, 1, 2), swapped, 32))) == "keys-refused"
    for length in (0, 95, 2 * 96, 2 * 96 + 40):
        short = Asked(1, (0, 1, 2), keys[:length], 32)
        assert code_of(lambda short=short: answer_masked(hospitals[0], order(), short)) == "keys-refused"  # type: ignore[misc]
    assert hospitals[0].ledger.entries() == []


@pytest.mark.parametrize("wide", [(0,), (1,), (1, 2)])
def test_a_server_that_tells_sites_of_different_widths_cancels_no_mask(
    hospitals: list[Hospital], wide: tuple[int, ...]
) -> None:
    keys, low = keys_of(hospitals), []
    for number, one in enumerate(hospitals):
        asked = Asked(1, (0, 1, 2), keys, 64 if number in wide else 32)
        halves = answer_masked(one, order(), asked).arrays["masked"].numpy().view(np.uint32)
        low.append(halves[: len(halves) // 2 if number in wide else None : 2].astype(np.uint32))
    shortest = min(map(len, low))
    total = np.add.reduce([one[:shortest] for one in low], dtype=np.uint32).view(np.int32)
    assert np.abs(total.astype(float)).mean() > 2.0**29, "small numbers are left: masks have cancelled"


def test_keys_of_another_attempt_do_not_serve(hospitals: list[Hospital]) -> None:
    before = keys_of(hospitals, 1)
    keys_of(hospitals, 2)
    assert code_of(lambda: answer_masked(hospitals[0], order(), Asked(2, (0, 1, 2), before, 32))) == "keys-refused"
    assert code_of(lambda: answer_masked(hospitals[0], order(), Asked(1, (0, 1, 2), before, 32))) == "attempt-used"


def test_a_site_insists_on_company_and_on_being_meant(hospitals: list[Hospital]) -> None:
    assert code_of(lambda: offer_key(hospitals[0], order(), Asked(1, (0, 1)))) == "too-few-sites"
    assert code_of(lambda: offer_key(hospitals[0], order(), Asked(1, (1, 2)))) == "keys-refused"
    assert code_of(lambda: offer_key(hospitals[0], order(), Asked(1, (0, 1, 3)))) == "keys-refused"


def test_the_server_cannot_ask_for_a_sites_own_sum_instead(hospitals: list[Hospital]) -> None:
    assert code_of(lambda: answer(hospitals[0], order())) == "masks-missing"
    assert hospitals[0].ledger.entries() == []
    asked = Asked(1, (0, 1, 2), bytes(3 * 96), 32)
    rows = replace(order("harmonise"), shared={**SHARED, **public_values(PLAN, STAGES[1], SHARED)})
    assert code_of(lambda: answer_masked(hospitals[0], rows, asked)) == "masks-missing"
    assert code_of(lambda: answer_masked(hospitals[0], order(), replace(asked, bits=16))) == "masks-missing"


def test_attempts_go_up_and_end(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    for number in range(1, MOST_ATTEMPTS + 1):
        attempts.begin(replace(CONTEXT, attempt=number))
    for number in (1, MOST_ATTEMPTS, MOST_ATTEMPTS + 1, 0, -1):
        assert code_of(lambda number=number: attempts.begin(replace(CONTEXT, attempt=number))) == "attempt-used"  # type: ignore[misc]
    assert [file.name[-5:] for file in tmp_path.iterdir()] == ["5.key"]
    assert next(tmp_path.iterdir()).stat().st_mode & 0o777 == 0o600
    attempts.begin(replace(CONTEXT, round=2))


def test_attempts_of_a_stage_are_not_those_of_one_with_a_longer_name(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    attempts.begin(replace(CONTEXT, stage="classify-1", attempt=3))
    attempts.begin(replace(CONTEXT, stage="classify", attempt=1))
    attempts.begin(replace(CONTEXT, stage="classify", attempt=4))
    attempts.take(replace(CONTEXT, stage="classify-1", attempt=3))


def test_a_key_is_for_the_company_that_it_was_made_for(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    key = attempts.begin(CONTEXT)
    assert attempts.take(CONTEXT).private_bytes_raw() == key.private_bytes_raw()
    assert code_of(lambda: attempts.take(CONTEXT)) == "attempt-used"
    later = replace(CONTEXT, attempt=2)
    attempts.begin(later)
    assert code_of(lambda: attempts.take(replace(later, participants=("a", "b")))) == "keys-refused"
    assert code_of(lambda: attempts.take(later)) == "attempt-used"


def test_a_hospital_is_known_by_its_key_whatever_its_folder_is_called(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path / "folder", tmp_path / "state")
    assert code_of(lambda: identity(hospital)) == "not-on-roster"
    public = own_key(hospital.folder).public_key().public_bytes_raw().hex()
    (hospital.folder / FILE).write_text(roster_text(roster_of({"A": "ab" * 32, "Zurich": public})))
    found = identity(hospital)
    assert (found.name, found.number) == ("Zurich", 1)
    (hospital.folder / FILE).write_text(roster_text(roster_of({"A": "ab" * 32})))
    assert code_of(lambda: identity(hospital)) == "not-on-roster"


def test_simulated_hospitals_share_a_roster_that_the_first_of_them_makes(hospitals: list[Hospital]) -> None:
    found = [identity(one) for one in hospitals]
    assert len({one.roster.digest() for one in found}) == 1
    context = replace(CONTEXT, participants=found[0].roster.names)
    signed = offer(X25519PrivateKey.generate(), found[1].name, found[1].key, context)
    found[0].roster.key(found[1].name).verify(signed[32:], context.about("key", found[1].name, signed[:32].hex()))


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_a_sum_that_was_never_masked_does_not_leave(kind: torch.dtype) -> None:
    bits, generator = torch.iinfo(kind).bits, np.random.default_rng(0)
    limit = words_limit(bits, 3)
    uniform = generator.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 5000)
    limit({"masked": torch.from_numpy(uniform).to(kind)}, {"patients": 3.0})
    bare = torch.from_numpy(generator.normal(0, 2.0 ** (bits - 4), 5000)).to(kind)
    with pytest.raises(EgressBlocked, match="must be masked"):
        limit({"masked": bare}, {"patients": 3.0})
