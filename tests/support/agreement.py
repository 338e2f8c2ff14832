"""Checks that both paths and the reference agree on any messages, and that the lines of LOAD DATA keep the values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from orderflow.contract import fast_path, native
from orderflow.contract.definition import Contract, Order
from orderflow.contract.exact_path import read_exactly
from orderflow.errors import RecordRejected
from tests.support import reference

_LINE_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "0": "\0", "Z": "\x1a"}  # as MySQL reads LOAD DATA files


def check_contract(contract: Contract) -> None:
    """Check that the contract survives its JSON."""
    assert msgspec.json.decode(msgspec.json.encode(contract), type=Contract) == contract


def check_values(values: Sequence[bytes | None], contract: Contract) -> int:
    """Check a batch, and return the number of its valid orders."""
    orders: list[Order | tuple[str, str]] = []
    unknown: Counter[tuple[str, int]] = Counter()
    for index, value in enumerate(values):
        expected = reference.row(value, contract)
        try:
            order, names = read_exactly(value, contract)
        except RecordRejected as rejected:
            assert expected is None, f"value {index} is rejected: {rejected.message}; the reference reads {expected}"
            orders.append((str(rejected.reason), rejected.message))
        else:
            row = reference.by_column(order, [*names], contract)
            assert row == expected, f"value {index} is {row}; the reference reads {expected}"
            orders.append(order)
            unknown.update((name.encode("utf-8", "backslashreplace").decode(), index) for name in names)
    _check_reading(fast_path.decode_values(values, contract), orders, unknown)
    return sum(isinstance(order, Order) for order in orders)


def _check_reading(
    reading: fast_path.DecodedValues, orders: list[Order | tuple[str, str]], unknown: Counter[tuple[str, int]]
) -> None:
    table, contract = reading.orders, reading.contract
    table.validate(full=True)
    assert table.schema == contract.arrow_schema
    fast = [result if isinstance(result, Order) else (str(result.reason), result.message) for result in reading.results]
    for index, (fast_result, expected) in enumerate(zip(fast, orders, strict=True)):
        assert fast_result == expected, f"value {index} is {fast_result}; the exact path reads {expected}"
    names = reading.unknown_fields
    assert Counter(zip(names["name"].to_pylist(), names["batch_index"].to_pylist(), strict=True)) == unknown
    check_lines(table.drop_columns("batch_index"), contract)


def check_lines(rows: pa.Table, contract: Contract) -> None:
    """Check that LOAD DATA reads the rows from their lines."""
    lines = native.write(rows, times=contract.time_columns, free_texts=contract.free_text_columns).to_pybytes()
    assert lines == native._write_in_python(rows, contract.time_columns, contract.free_text_columns)
    parsed = [[_value(text) for text in line.split("\t")] for line in lines.decode().split("\n")[:-1]]
    for name, column in zip(rows.column_names, zip(*parsed, strict=True), strict=False):
        expected = [
            None if value is None else re.sub("[-:T]", "", value) if name in contract.time_columns else value
            for value in rows[name].to_pylist()
        ]
        actual = [
            text if text is None or isinstance(expected_value, str | None) else type(expected_value)(text)
            for text, expected_value in zip(column, expected, strict=True)
        ]
        assert actual == expected, f"{name} is {actual} in LOAD DATA's lines; expected {expected}"


def _value(text: str) -> str | None:
    return None if text == "\\N" else _LINE_ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
