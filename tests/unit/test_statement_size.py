"""The size of the values of a statement, and the portions into which rows are split."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mysql.connector.conversion import MySQLConverter

from orderflow.store.connection import estimated_bytes, split_by_size


@given(
    st.lists(
        st.text() | st.binary() | st.integers(-(2**63), 2**63) | st.datetimes() | st.decimals(places=2), max_size=9
    )
)
def test_the_estimated_size_of_values_is_at_least_their_size_in_a_statement(values: list[Any]) -> None:
    converter = MySQLConverter("utf8mb4")
    literals = [converter.quote(converter.escape(converter.to_mysql(value))) for value in values]
    assert len(b"_binary, ".join(literals)) <= estimated_bytes(values)
    assert estimated_bytes(['"'] * 100) >= 400


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 60))
def test_rows_are_split_into_portions_as_large_as_possible(sizes: list[int], most: int) -> None:
    found = list(split_by_size(sizes, lambda size: size, most))
    assert [*chain(*found)] == sizes
    assert all(sum(portion) <= most or len(portion) == 1 for portion in found)
    assert all(sum(portion) + following[0] > most for portion, following in pairwise(found))
