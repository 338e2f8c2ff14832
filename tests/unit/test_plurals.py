"""Counts in messages: "1 record" and "2 records"."""

from __future__ import annotations

import pytest

from orderflow.cli import text
from orderflow.plurals import counted


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 records"), (1, "1 record"), (2, "2 records"), (1_000, "1,000 records")]
)
def test_a_noun_agrees_with_its_number(number: int, expected: str) -> None:
    assert counted(number, "record") == expected


def test_a_missing_number_is_unknown() -> None:
    assert [text.number(value) for value in (None, 0, 12_345)] == ["unknown", "0", "12,345"]
