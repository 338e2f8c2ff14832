"""The compiled library returns the same results as its Python fallback."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.contract import fast_path, native
from orderflow.contract.definition import DEFAULT
from tests.support.corpus import CASES, SAMPLE, TEXTS, numbered

numbers = st.integers(-(2**63), 2**63 - 1)
texts = st.one_of(st.sampled_from(list(TEXTS.values())), st.text(), st.text(alphabet="\\\t\nNné🧘")).filter(
    lambda text: text.isprintable() or not any("\ud800" <= character <= "\udfff" for character in text)
)
moments = st.datetimes().map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))
rows = st.tuples(
    st.integers(-(2**31), 2**31 - 1),
    st.from_regex(r"ORDER-[0-9]{6,44}", fullmatch=True),
    texts,
    st.integers(1 - 10**10, 10**10 - 1).map(lambda cents: Decimal(cents) / 100),
    moments.map(lambda time: time.isoformat(timespec="seconds")),
    st.one_of(st.none(), moments.map(lambda time: time.isoformat(" ", "milliseconds"))),
    numbers,
)
SCHEMA = pa.schema(
    {
        "small": pa.int32(),
        "name": pa.string(),
        "free": pa.string(),
        "amount": pa.decimal128(10, 2),
        "time": pa.string(),
        "moment": pa.string(),
        "large": pa.int64(),
    }
)


@settings(max_examples=300)
@given(st.lists(rows, min_size=1, max_size=6), st.integers(0, 3))
def test_the_c_library_writes_the_same_lines_as_python(generated_rows: list[tuple[object, ...]], start: int) -> None:
    table = pa.table([*zip(*generated_rows, strict=True)], schema=SCHEMA)
    for part in (table, table.slice(start), table.slice(start, 1), pa.concat_tables([table, table])):
        lines = native.write(part, times=("time", "moment"), free_texts=("free",))
        assert lines.to_pybytes() == native._write_in_python(part, ("time", "moment"), ("free",))


def test_without_the_library_the_exact_path_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [*(case.value for case in CASES), *(numbered(number) for number in range(50)), SAMPLE]
    compiled = fast_path.decode_values(values)
    decoded, _ = native.read(pa.array(values, pa.large_binary()), DEFAULT)
    assert 0 < fast_path._keep_matching(decoded, DEFAULT).num_rows < compiled.orders.num_rows
    monkeypatch.setattr(native, "IS_COMPILED", False)
    exact = fast_path.decode_values(values)
    assert exact.orders == compiled.orders and exact.unknown_fields == compiled.unknown_fields
    rejections = [
        [(batch_index, rejected.message) for batch_index, rejected in reading.rejected] for reading in (compiled, exact)
    ]
    assert rejections[0] == rejections[1]


def test_texts_beyond_32_bits_take_the_exact_path(monkeypatch: pytest.MonkeyPatch) -> None:
    values = pa.array([SAMPLE] * 3, pa.large_binary())
    needed = 3 * len(SAMPLE) + 3 * native._TIME
    for limit, expected_rows in ((needed, 3), (needed - 1, 0)):
        monkeypatch.setattr(native, "_MAX_DATA", limit)
        assert native.read(values, DEFAULT)[0].num_rows == expected_rows
