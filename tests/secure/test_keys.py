"""A server hands keys on and can do nothing else with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedspine.errors import ConfigError, Refused
from fedspine.secure.keys import OFFER_BYTES, named, offer, signing_key, verified
from fedspine.secure.roster import read_roster, roster_of, roster_text

from .conftest import Consortium


def refused(consortium: Consortium, offers: dict[str, bytes], **changed: object) -> str:
    with pytest.raises(Refused) as caught:
        verified(offers, consortium.roster, replace(consortium.context, **changed))  # type: ignore[arg-type]
    return caught.value.code


def test_signed_keys_are_taken(consortium: Consortium) -> None:
    found = verified(consortium.offers, consortium.roster, consortium.context)
    assert {name: key.public_bytes_raw() for name, key in found.items()} == {
        name: key.public_key().public_bytes_raw() for name, key in consortium.own.items()
    }
    assert {len(one) for one in consortium.offers.values()} == {OFFER_BYTES}


def test_a_server_that_puts_its_own_key_in_is_refused(consortium: Consortium) -> None:
    its_own = X25519PrivateKey.generate()
    signed_by_itself = offer(its_own, "south", Ed25519PrivateKey.generate(), consortium.context)
    under_souths_signature = its_own.public_key().public_bytes_raw() + consortium.offers["south"][32:]
    for swapped in (signed_by_itself, under_souths_signature):
        assert refused(consortium, {**consortium.offers, "south": swapped}) == "keys-refused"


def test_an_insider_cannot_speak_for_another(consortium: Consortium) -> None:
    forged = offer(X25519PrivateKey.generate(), "south", consortium.signing["west"], consortium.context)
    assert refused(consortium, {**consortium.offers, "south": forged}) == "keys-refused"


@pytest.mark.parametrize(
    "other",
    [
        {"round": 2},
        {"attempt": 2},
        {"stage": "tokens"},
        {"plan": "cd" * 32},
        {"roster": "00" * 32},
        {"participants": ("north", "south")},
    ],
)
def test_a_signature_of_another_round_attempt_stage_plan_roster_or_company_is_refused(
    consortium: Consortium, other: dict[str, object]
) -> None:
    replayed = offer(
        consortium.own["south"],
        "south",
        consortium.signing["south"],
        replace(consortium.context, **other),  # type: ignore[arg-type]
    )
    assert refused(consortium, {**consortium.offers, "south": replayed}) == "keys-refused"


def test_everybody_must_offer_a_key_of_their_own(consortium: Consortium) -> None:
    without = {name: one for name, one in consortium.offers.items() if name != "west"}
    assert refused(consortium, without) == "keys-refused"
    assert refused(consortium, {**consortium.offers, "east": consortium.offers["west"]}) == "keys-refused"
    assert refused(consortium, {**consortium.offers, "south": consortium.offers["west"]}) == "keys-refused"
    assert refused(consortium, {**consortium.offers, "south": b""}) == "keys-refused"
    twice = offer(consortium.own["west"], "south", consortium.signing["south"], consortium.context)
    assert refused(consortium, {**consortium.offers, "south": twice}) == "keys-refused"


def test_a_roster_that_differs_is_refused_though_the_names_are_the_same(consortium: Consortium) -> None:
    other = Consortium()
    with pytest.raises(Refused):
        verified(consortium.offers, other.roster, consortium.context)
    with pytest.raises(Refused):
        verified(consortium.offers, consortium.roster, replace(consortium.context, roster=other.roster.digest()))


def test_participants_are_places_in_the_roster(consortium: Consortium) -> None:
    assert named((2, 0), consortium.roster) == ("north", "west")
    for strange in ((0, 0), (3,), (-1, 0)):
        with pytest.raises(Refused):
            named(strange, consortium.roster)


def test_a_signing_key_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / ".fedspine" / "signing.key"
    first = signing_key(file).private_bytes_raw()
    assert signing_key(file).private_bytes_raw() == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["signing.key"]


def test_a_roster_is_the_same_after_writing_and_its_digest_tells_any_other(
    consortium: Consortium, tmp_path: Path
) -> None:
    (tmp_path / "roster.toml").write_text(roster_text(consortium.roster))
    assert read_roster(tmp_path / "roster.toml") == consortium.roster
    keys = {name: key.hex() for name, key in consortium.roster.keys.items()}
    renamed = {"north-2" if name == "north" else name: key for name, key in keys.items()}
    assert len({consortium.roster.digest(), roster_of(renamed).digest(), Consortium().roster.digest()}) == 3


@pytest.mark.parametrize("text", ['north = "1234"', 'north = "xy"', "north = 1", 'a = "KEY"\nb = "KEY"'])
def test_a_roster_of_anything_but_keys_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "roster.toml").write_text(text.replace("KEY", "ab" * 32))
    with pytest.raises(ConfigError, match=r"roster\.toml must hold a"):
        read_roster(tmp_path / "roster.toml")
