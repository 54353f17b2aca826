"""The site's key, and what it makes."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.cohort.deidentify import keyring
from fedspine.cohort.deidentify.key import ALPHABET, MOST_DAYS, Key, is_pseudonym
from fedspine.cohort.deidentify.keyring import Pseudonyms, open_key, write_key
from fedspine.cohort.patient import Rejected
from fedspine.cohort.site import load_cohort
from fedspine.errors import CohortError

Write = Callable[..., list[Path]]
ONE, OTHER = Key(bytes(32)), Key(bytes(31) + b"\1")


@given(st.text(min_size=1))
def test_a_pseudonym_has_its_form_and_is_its_own(own: str) -> None:
    pseudonym = ONE.pseudonym(own)
    assert is_pseudonym(pseudonym)
    assert ONE.pseudonym(pseudonym) == OTHER.pseudonym(pseudonym) == pseudonym
    assert is_pseudonym(own) or OTHER.pseudonym(own) != pseudonym


@given(st.text("0123456789ABCDEF", min_size=1, max_size=12), st.data())
def test_a_mistyped_symbol_of_a_pseudonym_is_noticed_all_but_always(own: str, data: st.DataObject) -> None:
    pseudonym = ONE.pseudonym(own)
    place = data.draw(st.sampled_from([i for i, symbol in enumerate(pseudonym) if symbol in ALPHABET and i > 1]))
    symbol = data.draw(st.sampled_from(ALPHABET))
    typed = pseudonym[:place] + symbol + pseudonym[place + 1 :]
    same = {pseudonym[place], symbol} == {"0", "Z"}  # 31 and 0 are alike modulo 31
    assert is_pseudonym(typed) == (typed == pseudonym or same)


@given(st.integers(0, 10**6))
def test_a_keyed_uid_is_a_valid_one_made_of_a_uuid(number: int) -> None:
    old = f"1.2.3.{number}"
    new = ONE.uid(old)
    assert new == ONE.uid(old) != OTHER.uid(old)
    made = uuid.UUID(int=int(new.removeprefix("2.25.")))
    assert (made.variant, made.version) == (uuid.RFC_4122, 8)
    assert len(new) <= 64


def test_the_standards_own_uids_stay() -> None:
    assert ONE.uid("1.2.840.10008.1.4.1.1") == "1.2.840.10008.1.4.1.1"
    assert ONE.uid("") == ""


@given(st.text())
def test_every_patient_has_a_shift_of_at_least_a_day(patient: str) -> None:
    assert 1 <= ONE.days(patient) <= MOST_DAYS


def test_an_id_is_the_same_however_its_accents_are_composed() -> None:
    names = Pseudonyms(ONE)
    assert names.of("M\u00fcller") == names.of("Mu\u0308ller")
    assert len(names.own) == 1


def test_no_secret_shows_in_a_repr() -> None:
    names = Pseudonyms(ONE)
    names.of("zqown")
    assert repr(ONE) == "Key()"
    assert "zq" not in repr(names)


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first, second = open_key(tmp_path), open_key(tmp_path)
    assert first.kept
    assert first.key == second.key
    assert first.notes == second.notes == ()
    assert stat.S_IMODE((tmp_path / ".fedspine" / "pseudonym.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / ".fedspine").iterdir()] == ["pseudonym.key"]
    assert open_key(tmp_path / "other").key != first.key


def test_whoever_comes_second_gets_the_key_of_the_first(tmp_path: Path) -> None:
    assert write_key(tmp_path, "11" * 32)
    assert write_key(tmp_path, "22" * 32)
    assert (tmp_path / "pseudonym.key").read_text() == "11" * 32 + "\n"


def test_a_key_that_others_could_read_is_mended_and_said(tmp_path: Path) -> None:
    key = open_key(tmp_path).key
    file = tmp_path / ".fedspine" / "pseudonym.key"
    file.chmod(0o644)
    opened = open_key(tmp_path)
    assert opened.key == key
    assert opened.notes == (Rejected(".fedspine/pseudonym.key", keyring.LOOSE),)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"abc", b"0" * 63, b"g" * 64])
def test_a_damaged_key_stops_the_reading_rather_than_renaming_everybody(site: Path, content: bytes) -> None:
    file = site / ".fedspine" / "pseudonym.key"
    file.write_bytes(content)
    with pytest.raises(CohortError, match="a site's pseudonym key must be 64 hexadecimal digits; found something else"):
        load_cohort(site)
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_written_gets_a_passing_key_and_says_so(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / ".fedspine" / "pseudonym.key").unlink()
    monkeypatch.setattr(keyring, "write_key", lambda room, text: False)
    first, second = load_cohort(site), load_cohort(site)
    assert not first.key_kept
    assert first.rejected == (Rejected(".fedspine/pseudonym.key", keyring.NOT_KEPT),)
    assert {one.identifier for one in first.patients}.isdisjoint(one.identifier for one in second.patients)


def test_a_folder_of_the_hospital_keeps_the_key_where_the_site_folder_cannot(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / ".fedspine" / "pseudonym.key").unlink()
    write = keyring.write_key
    monkeypatch.setattr(keyring, "write_key", lambda room, text: room == tmp_path / "state" and write(room, text))
    first, second = (load_cohort(site, state=tmp_path / "state") for _ in range(2))
    assert first.key_kept
    assert [one.identifier for one in first.patients] == [one.identifier for one in second.patients]


def test_the_table_of_pseudonyms_stays_with_the_key_and_is_its_owners_alone(site: Path) -> None:
    cohort = load_cohort(site)
    table = site / ".fedspine" / "pseudonyms.csv"
    one, two = (patient.identifier for patient in cohort.patients)
    assert table.read_text() == f"pseudonym,patient\n{one},P1\n{two},P2\n"
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    assert dict(cohort.own_ids) == {one: "P1", two: "P2"}


def test_a_lost_table_is_made_again_from_the_files(site: Path) -> None:
    (site / "patients.csv").unlink()
    (site / "omics.csv").unlink()
    first = load_cohort(site)
    (site / ".fedspine" / "pseudonyms.csv").unlink()
    assert load_cohort(site).own_ids == first.own_ids


def test_a_table_of_another_key_is_not_believed(site: Path) -> None:
    load_cohort(site)
    (site / ".fedspine" / "pseudonym.key").write_text("33" * 32)
    assert sorted(load_cohort(site).own_ids.values()) == ["P1", "P2"]


def test_a_pseudonym_that_means_two_people_is_refused() -> None:
    names = Pseudonyms(ONE)
    pseudonym = names.of("4711")
    with pytest.raises(CohortError, match="a pseudonym must mean one patient; found two patients with the same"):
        names.of(pseudonym)


def test_another_key_makes_other_folds_and_the_same_key_the_same(site: Path, tmp_path: Path) -> None:
    first = [one.identifier for one in load_cohort(site).patients]
    assert first == [one.identifier for one in load_cohort(site, cache=tmp_path / "elsewhere").patients]
    (site / ".fedspine" / "pseudonym.key").unlink()
    assert not set(first) & {one.identifier for one in load_cohort(site).patients}


def test_a_table_with_what_no_table_holds_stops_nobody(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    cohort = load_cohort(tmp_path)
    table = tmp_path / ".fedspine" / "pseudonyms.csv"
    table.write_text(table.read_text("utf-8") + "P-0000-0000-0000," + 200_000 * "A" + "\nP\r1,P\r2\n", "utf-8")
    assert load_cohort(tmp_path).own_ids == cohort.own_ids
