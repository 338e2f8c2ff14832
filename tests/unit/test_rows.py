"""The order in which a run's rows go into the table."""

from __future__ import annotations

from random import Random

import pytest

from orderflow.reading import read
from orderflow.store import orders
from orderflow.store.run import Run
from tests.corpus import numbered


@pytest.mark.parametrize("alone", [True, False])
def test_rows_are_sorted_and_the_first_of_one_id_stays_first(alone: bool) -> None:
    draw = Random(7)
    values: list[bytes | None] = [numbered(draw.randrange(1, 120)) for _ in range(300)]
    run = Run([0] * 300, range(300), [0] * 300, [None] * 300, values)
    rows = orders.as_rows(read(values).orders, run, alone=alone)
    found = list(zip(rows["order_id"].to_pylist(), rows["place"].to_pylist(), strict=True))
    assert sorted(place for _, place in found) == list(range(300))
    assert found == sorted(found, key=lambda row: row if alone else (row[0][-1], *row))
    assert rows["kafka_offset"].to_pylist() == rows["place"].to_pylist()
