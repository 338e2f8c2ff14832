"""The description of a batch, and the order in which its rows are inserted into the table."""

from __future__ import annotations

from random import Random

import pytest

from orderflow.contract.definition import DEFAULT
from orderflow.contract.fast_path import decode_batch
from orderflow.store import orders
from orderflow.store.record_batch import RecordBatch
from tests.corpus import numbered


@pytest.mark.parametrize("single_writer", [True, False])
def test_rows_are_sorted_and_the_first_of_one_id_stays_first(single_writer: bool) -> None:
    rng = Random(7)
    values: list[bytes | None] = [numbered(rng.randrange(1, 120)) for _ in range(300)]
    batch = RecordBatch([0] * 300, range(300), [0] * 300, [None] * 300, values)
    rows = orders.as_rows(decode_batch(values).orders, batch, DEFAULT, single_writer=single_writer)
    ordered = list(zip(rows["order_id"].to_pylist(), rows["batch_index"].to_pylist(), strict=True))
    assert sorted(batch_index for _, batch_index in ordered) == list(range(300))
    assert ordered == sorted(ordered, key=lambda row: row if single_writer else (row[0][-1], *row))
    assert rows["kafka_offset"].to_pylist() == rows["batch_index"].to_pylist()


def test_a_batch_is_named_by_its_partitions_and_offsets() -> None:
    batch = RecordBatch([1, 1, 1, 0], [17, 20, 36, 4], [0] * 4, [None] * 4, [None] * 4)
    assert batch.describe("orders") == "orders-0 offsets 4 to 4, orders-1 offsets 17 to 36"
