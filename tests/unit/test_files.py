"""A user's own orders: bytes and digits arrive as they stand in the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.progress import Progress

from orderflow import order
from orderflow.errors import InputInvalid, RecordRejected
from orderflow.order import FIELDS
from orderflow.produce import files
from orderflow.produce.generator import Message

ROW = {
    "customer_id": "87654",
    "order_id": "ORDER-000001",
    "product_name": "Yoga Mat",
    "product_category": "Sports & Outdoors",
    "unit_price": "45.99",
    "quantity": "2",
    "total_price": "91.98",
    "order_timestamp": "2025-01-15T14:30:45",
}
HEADER = ",".join(FIELDS)
Read = Callable[[str, bytes | str], list[Message]]


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress(disable=True) as progress:
        yield progress


@pytest.fixture
def read(tmp_path: Path, progress: Progress) -> Read:
    def read(name: str, content: bytes | str) -> list[Message]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        messages = list(files.messages(path, progress))
        assert progress.tasks[-1].completed == progress.tasks[-1].total == path.stat().st_size
        return messages

    return read


def reason(value: bytes | None) -> str:
    with pytest.raises(RecordRejected) as caught:
        order.decode(value)
    return caught.value.reason


def test_lines_are_sent_as_they_are(read: Read) -> None:
    good = b'{"quantity":2, "order_id":"ORDER-000001" , "more": 1e400}'
    lines = [good, b"\xff\xfe", b"{", b'  {"order_id": 1}\r', b'{"order_id": "\\ud800"}']
    assert read("o.jsonl", b"\n\n" + b"\n".join(lines)) == [
        (b"ORDER-000001", good, -1),
        *((None, line, -1) for line in lines[1:]),
    ]


def test_a_row_keeps_the_digits_it_was_written_with(read: Read) -> None:
    cells = ROW | {"unit_price": " 45.90", "total_price": "91.8", "product_name": '"Mat ""XL"", b\u00e9ige"'}
    ((key, value, _),) = read("o.csv", "\ufeff" + HEADER + "\r\n" + ",".join(cells.values()) + "\r\n\r\n")
    assert key == b"ORDER-000001"
    assert b'"unit_price": 45.90, "quantity": 2, "total_price": 91.8,' in (value or b"")
    assert order.decode(value).product_name == 'Mat "XL", b\u00e9ige'


def test_columns_may_stand_in_any_order(read: Read) -> None:
    names = sorted(FIELDS)
    ((_, value, _),) = read("o.CSV", ",".join(names) + "\n" + ",".join(ROW[name] for name in names))
    assert order.decode(value).order_id == ROW["order_id"]
    assert tuple(json.loads(value or b"")) == FIELDS


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"unit_price": "45,99"}, "not_an_object"),
        ({"unit_price": '"45,99"'}, "wrong_type"),
        ({"unit_price": ""}, "null_field"),
        ({"unit_price": "NaN"}, "wrong_type"),
        ({"unit_price": "45.999"}, "excess_scale"),
        ({"quantity": "2.0"}, "wrong_type"),
        ({"quantity": "02"}, "wrong_type"),
        ({"quantity": "9999999999"}, "out_of_range"),
        ({"quantity": "two"}, "wrong_type"),
        ({"product_name": ""}, "wrong_length"),
        ({"order_id": "4711"}, "invalid_order_id"),
        ({"order_timestamp": "15.01.2025"}, "invalid_timestamp"),
    ],
)
def test_a_wrong_row_goes_to_the_quarantine_by_its_reason(read: Read, cells: dict[str, str], expected: str) -> None:
    good = ",".join(ROW.values())
    rows = read("o.csv", "\n".join([HEADER, ",".join((ROW | cells).values()), good]))
    assert reason(rows[0][1]) == expected
    order.decode(rows[1][1])


def test_bytes_that_are_not_utf8_pass_through(read: Read) -> None:
    rows = read("o.csv", (HEADER + "\n" + ",".join(ROW.values())).encode().replace(b"Yoga", b"Caf\xe9"))
    assert reason(rows[0][1]) == "invalid_utf8"
    assert b"Caf\xe9 Mat" in (rows[0][1] or b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("o.csv", ""),
        ("o.csv", "customer_id,order_id\n"),
        ("o.csv", HEADER + ",more\n"),
        ("o.csv", HEADER.replace("quantity", "Quantity")),
        ("o.csv", HEADER + '\n"' + "never closed," * 20_000),
        ("o.xls", "anything"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(read: Read, name: str, content: str) -> None:
    with pytest.raises(InputInvalid, match=name):
        read(name, content)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, progress: Progress) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("missing.jsonl", "folder.csv"):
        with pytest.raises(InputInvalid, match=name):
            files.messages(tmp_path / name, progress)
