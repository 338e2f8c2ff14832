"""The rows of a batch: their order, and the rows that were skipped because their order_id exists."""

from __future__ import annotations

from datetime import datetime
from random import Random
from unittest import mock

import pytest

from orderflow.contract.definition import DEFAULT
from orderflow.contract.fast_path import decode_values
from orderflow.settings import Settings
from orderflow.store import skipped_rows
from orderflow.store.existing_orders import ExistingRow
from orderflow.store.order_rows import as_rows, iterate_rows
from orderflow.store.record_batch import RecordBatch
from orderflow.store.skipped_rows import SkippedRow
from tests.support.corpus import numbered


@pytest.mark.parametrize("sort_by_last_digit", [False, True])
def test_rows_are_sorted_and_the_first_of_one_id_stays_first(sort_by_last_digit: bool) -> None:
    rng = Random(7)
    values: list[bytes | None] = [numbered(rng.randrange(1, 120)) for _ in range(300)]
    batch = RecordBatch([0] * 300, range(300), [0] * 300, [None] * 300, values)
    rows = as_rows(decode_values(values).orders, batch, DEFAULT, sort_by_last_digit=sort_by_last_digit)
    ordered = list(zip(rows["order_id"].to_pylist(), rows["batch_index"].to_pylist(), strict=True))
    assert sorted(batch_index for _, batch_index in ordered) == list(range(300))
    assert ordered == sorted(ordered, key=lambda row: (row[0][-1], *row) if sort_by_last_digit else row)
    assert rows["kafka_offset"].to_pylist() == rows["batch_index"].to_pylist()


def test_a_batch_is_described_by_its_partitions_and_offsets() -> None:
    batch = RecordBatch([1, 1, 1, 0], [17, 20, 36, 4], [0] * 4, [None] * 4, [None] * 4)
    assert batch.describe("orders") == "orders partition 0 offsets 4 to 4, partition 1 offsets 17 to 36"


def test_a_repeated_order_id_is_skipped_also_if_its_first_row_was_sent_by_another_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: list[bytes | None] = [numbered(7), numbered(7)]
    batch = RecordBatch([0, 0], [3, 5], [0, 0], [None] * 2, values)
    rows = as_rows(decode_values(values).orders, batch, DEFAULT)
    stored_at, connection = datetime(2026, 1, 1), mock.Mock(settings=Settings())  # noqa: DTZ001 - as the driver returns
    first, second = iterate_rows(connection, rows)
    existing_row = ExistingRow(first.order.row(), 0, 3, None, stored_at)
    monkeypatch.setattr(skipped_rows, "find_by_order_id", lambda *_: {first.order.order_id: existing_row})
    found = skipped_rows._read_again(connection, rows[1:], stored_at, 1, [], rows)
    assert found == [SkippedRow(second, existing_row)]
