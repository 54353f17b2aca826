"""What `make bench` writes, from what its children said, and where."""

from __future__ import annotations

from simulations.bench.__main__ import TABLE, _table
from simulations.bench.children import CHILDREN


def test_the_table_has_a_place_and_names_medians_of_pairs() -> None:
    assert "make bench" in TABLE.read_text(encoding="utf-8"), "it must write over the page that is there"
    said = {"seconds": 2.0, "peak_mb": 10.0, "startup": 1.0, "round": 3.0, "cpu": 4.0}
    rows = {name: [said] * 3 for name in CHILDREN}
    plain = [{"seconds": 1.0, "peak_mb": 20.0}, {"seconds": 2.0, "peak_mb": 10.0}, {"seconds": 4.0, "peak_mb": 40.0}]
    table = _table(rows, {"segment": {"private": [said] * 3, "plain": plain}})
    assert "| `segment` | 1.00x | 0.50x | 10 / 20 |" in table
