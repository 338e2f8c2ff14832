"""The description of a batch, the order of its rows, and how many of them one statement can have."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, pairwise
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mysql.connector.conversion import MySQLConverter

from orderflow.contract.definition import DEFAULT
from orderflow.contract.fast_path import decode_values
from orderflow.settings import Settings
from orderflow.store import orders
from orderflow.store.connection import estimated_bytes, split_by_size
from orderflow.store.record_batch import RecordBatch
from tests.support.corpus import numbered


@pytest.mark.parametrize("sort_by_last_digit", [False, True])
def test_rows_are_sorted_and_the_first_of_one_id_stays_first(sort_by_last_digit: bool) -> None:
    rng = Random(7)
    values: list[bytes | None] = [numbered(rng.randrange(1, 120)) for _ in range(300)]
    batch = RecordBatch([0] * 300, range(300), [0] * 300, [None] * 300, values)
    rows = orders.as_rows(decode_values(values).orders, batch, DEFAULT, sort_by_last_digit=sort_by_last_digit)
    ordered = list(zip(rows["order_id"].to_pylist(), rows["batch_index"].to_pylist(), strict=True))
    assert sorted(batch_index for _, batch_index in ordered) == list(range(300))
    assert ordered == sorted(ordered, key=lambda row: (row[0][-1], *row) if sort_by_last_digit else row)
    assert rows["kafka_offset"].to_pylist() == rows["batch_index"].to_pylist()


def test_a_batch_is_named_by_its_partitions_and_offsets() -> None:
    batch = RecordBatch([1, 1, 1, 0], [17, 20, 36, 4], [0] * 4, [None] * 4, [None] * 4)
    assert batch.describe("orders") == "orders partition 0 offsets 4 to 4, partition 1 offsets 17 to 36"


def test_a_repeated_order_id_is_skipped_also_if_its_first_row_was_sent_by_another_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: list[bytes | None] = [numbered(7), numbered(7)]
    batch = RecordBatch([0, 0], [3, 5], [0, 0], [None] * 2, values)
    rows = orders.as_rows(decode_values(values).orders, batch, DEFAULT)
    stored_at, connection = datetime(2026, 1, 1), mock.Mock(settings=Settings())  # noqa: DTZ001 - as the driver returns
    first, second = orders.iterate_rows(connection, rows)
    existing_row = orders.ExistingRow(first.order.row(), 0, 3, None, stored_at)
    monkeypatch.setattr(orders, "find_by_order_id", lambda *_: {first.order.order_id: existing_row})
    skipped_rows = orders._read_again(connection, rows[1:], stored_at, 1, [], rows)
    assert skipped_rows == [orders.SkippedRow(second, existing_row)]


@given(
    st.lists(
        st.text() | st.binary() | st.integers(-(2**63), 2**63) | st.datetimes() | st.decimals(places=2), max_size=9
    )
)
def test_the_weight_of_values_is_at_least_their_size_in_a_statement(values: list[Any]) -> None:
    converter = MySQLConverter("utf8mb4")
    literals = [converter.quote(converter.escape(converter.to_mysql(value))) for value in values]
    assert len(b"_binary, ".join(literals)) <= estimated_bytes(values)
    assert estimated_bytes(['"'] * 100) >= 400


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 60))
def test_portions_are_as_large_as_possible_and_in_order(sizes: list[int], most: int) -> None:
    found = list(split_by_size(sizes, lambda size: size, most))
    assert [*chain(*found)] == sizes
    assert all(sum(portion) <= most or len(portion) == 1 for portion in found)
    assert all(sum(portion) + following[0] > most for portion, following in pairwise(found))
