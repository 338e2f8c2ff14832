"""A user's own orders: bytes and digits are sent exactly as they are in the file."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress

from orderflow.cli.contract import input_files
from orderflow.contract import contract_file, exact_path
from orderflow.contract.definition import DEFAULT, STANDARD_FIELDS, Contract
from orderflow.errors import InputInvalid, RecordRejected
from orderflow.produce import files
from orderflow.produce.outgoing_message import OutgoingMessage
from tests.support import shop

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
HEADER = ",".join(STANDARD_FIELDS)
Read = Callable[..., list[OutgoingMessage]]


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress(disable=True) as progress:
        yield progress


@pytest.fixture
def read(tmp_path: Path, progress: Progress) -> Read:
    def read(name: str, content: bytes | str, contract: Contract = DEFAULT) -> list[OutgoingMessage]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        messages = list(files.read_messages(path, progress, contract))
        assert progress.tasks[-1].completed == progress.tasks[-1].total == path.stat().st_size
        return messages

    return read


def reason(value: bytes | None) -> str:
    with pytest.raises(RecordRejected) as caught:
        exact_path.decode(value)
    return caught.value.reason


def test_lines_are_sent_unchanged(read: Read) -> None:
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
    assert exact_path.decode(value).product_name == 'Mat "XL", b\u00e9ige'


def test_columns_may_be_in_any_order(read: Read) -> None:
    names = sorted(STANDARD_FIELDS)
    ((_, value, _),) = read("o.CSV", ",".join(names) + "\n" + ",".join(ROW[name] for name in names))
    assert exact_path.decode(value).order_id == ROW["order_id"]
    assert tuple(json.loads(value or b"")) == STANDARD_FIELDS


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
def test_a_wrong_csv_row_is_sent_and_rejected_with_its_reason(read: Read, cells: dict[str, str], expected: str) -> None:
    good = ",".join(ROW.values())
    rows = read("o.csv", "\n".join([HEADER, ",".join((ROW | cells).values()), good]))
    assert reason(rows[0][1]) == expected
    exact_path.decode(rows[1][1])


def test_bytes_that_are_not_utf8_are_sent_unchanged(read: Read) -> None:
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
            files.read_messages(tmp_path / name, progress)


def with_name(cell: str) -> str:
    return ",".join((ROW | {"product_name": cell}).values())


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ('"24"" wide"', '24" wide'),
        ('""""', '"'),
        ('"a, b"', "a, b"),
        ('"a\r\nb\rc\nd"', "a\r\nb\rc\nd"),
        ("24\\' wide\\", "24\\' wide\\"),
        ('"24\\"', "24\\"),
        ('"a\\""b"', 'a\\"b'),
        (" a ", " a "),
        ("'a'", "'a'"),
        ('" a "', " a "),
        ("\u00e9\u2028\u0085\x0b\x0c\x1c", "\u00e9\u2028\u0085\x0b\x0c\x1c"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_follow_rfc_4180(read: Read, cell: str, name: str, end: str) -> None:
    rows = read("o.csv", end.join([HEADER, with_name(cell), "", with_name("next"), with_name(cell)]))
    assert [exact_path.decode(value).product_name for _, value, _ in rows] == [name, "next", name]


@pytest.mark.parametrize(
    ("row", "line", "why"),
    [
        (with_name('"24\\" wide"'), 4, "text follows a closing quote"),
        (with_name('"a" '), 4, "text follows a closing quote"),
        (with_name('"a"b"c"'), 4, "text follows a closing quote"),
        (with_name('24" wide'), 4, "a quote is inside a cell that is not quoted"),
        (with_name(' "a"'), 4, "a quote is inside a cell that is not quoted"),
        (with_name("a\rb"), 4, "a carriage return has no line feed after it"),
        (with_name("a") + "\r\r", 4, "a carriage return has no line feed after it"),
        (with_name('"a'), 4, "a quote is opened and not closed"),
        (with_name('"a\nb\n"c'), 6, "text follows a closing quote"),
        (with_name('a"'), 4, "a quote is inside a cell that is not quoted"),
    ],
)
def test_invalid_csv_is_refused_with_its_line(
    tmp_path: Path, progress: Progress, row: str, line: int, why: str
) -> None:
    """The file is refused before any part of it is sent."""
    path = tmp_path / "o.csv"
    path.write_bytes("\n".join([HEADER, with_name("good"), with_name("good"), row, ""]).encode())
    with pytest.raises(InputInvalid) as caught:
        files.read_messages(path, progress)
    assert caught.value.message == f"{path} is not CSV in line {line}: {why}."


def test_a_file_that_escapes_by_backslash_is_refused(progress: Progress) -> None:
    with pytest.raises(InputInvalid, match="line 2: text follows a closing quote"):
        files.read_messages(Path(__file__).parents[1] / "data/backslash.csv", progress)


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl"])
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_a_byte_order_mark_of_utf_8_is_skipped_and_utf_16_is_refused(read: Read, name: str, codec: str) -> None:
    good = (
        HEADER + "\n" + with_name("a") + "\n"
        if name == "o.csv"
        else json.dumps(ROW | {"customer_id": 1, "unit_price": 45.99, "quantity": 2, "total_price": 91.98})
    )
    content = good.encode(codec) if codec != "utf-16-be" else b"\xfe\xff" + good.encode(codec)
    if codec == "utf-8-sig":
        ((_, value, _),) = read(name, content)
        assert exact_path.decode(value).order_id == ROW["order_id"]
    else:
        with pytest.raises(InputInvalid, match="is UTF-16"):
            read(name, content)


def test_a_file_that_cannot_be_read_twice_is_refused(tmp_path: Path, progress: Progress) -> None:
    os.mkfifo(tmp_path / "o.csv")
    with pytest.raises(InputInvalid, match="not a regular file"):
        files.read_messages(tmp_path / "o.csv", progress)


@pytest.mark.parametrize(
    "cell", ["45.99\u00a0", "\u066345.99", "+45.99", "45.", ".99", "4_5", "0x1", "45.99\0", "1e400x"]
)
def test_only_a_cell_with_a_json_number_becomes_a_number(read: Read, cell: str) -> None:
    """Any other cell would need a guess. It is sent as text and quarantined."""
    ((_, value, _),) = read("o.csv", HEADER + "\n" + ",".join((ROW | {"unit_price": cell}).values()))
    assert json.loads(value or b"")["unit_price"] == cell
    assert reason(value) == "wrong_type"


SHOP_ROW = {
    "customer_id": "C-1",
    "order_id": "PO-2025-123",
    "product_name": "Yoga Mat",
    "unit_price": "45.90",
    "quantity": " 2",
    "total_price": "91.80",
    "order_timestamp": "2025-01-15T14:30:45.5Z",
    "channel": "web",
    "weight": "1.50",
    "gift": "true",
    "paid_at": "1736951445500",
    "points": "3",
    "extra": '"{""a"": [1.0, 1e400]}"',
}


def shop_file(**cells: str | None) -> str:
    row = {name: cell for name, cell in (SHOP_ROW | cells).items() if cell is not None}
    return f"{','.join(row)}\n{','.join(row.values())}\n"


def test_cells_are_written_to_the_paths_of_the_contract(read: Read) -> None:
    ((key, value, _),) = read("o.csv", shop_file(coupon=""), shop.CONTRACT)
    assert (key, value) == (
        b"PO-2025-123",
        b'{"customer": {"id": "C-1"}, "orderId": "PO-2025-123", "item": {"name": "Yoga Mat", "price": "45.90",'
        b' "quantity": 2}, "total": "91.80", "placedAt": "2025-01-15T14:30:45.5Z", "channel": "web",'
        b' "meta": {"weight": 1.50}, "gift": true, "paid_at": "1736951445500", "points": 3,'
        b' "extra": {"a": [1.0, 1e400]}}',
    )
    order = exact_path.decode(value, shop.CONTRACT)
    assert dict(zip(shop.CONTRACT.column_names[8:], order.custom_values, strict=True))["extra"] == '{"a":[1.0,1e400]}'


def test_columns_of_optional_fields_may_be_missing(read: Read) -> None:
    ((_, value, _),) = read("o.csv", shop_file(extra=None), shop.CONTRACT)
    assert exact_path.decode(value, shop.CONTRACT).custom_values[-2:] == (None, None)
    for cells in ({"channel": None}, {"product_category": "All"}, {"other_fields": ""}, {"order_id": None}):
        with pytest.raises(InputInvalid, match="not the names of the contract's fields") as caught:
            read("o.csv", shop_file(**cells), shop.CONTRACT)
        assert "coupon, extra may be missing" in caught.value.hint


def test_the_header_may_contain_the_keys_of_the_message(read: Read) -> None:
    text = shop_file()
    header, rows = text.split("\n", 1)
    keys = ",".join(shop.CONTRACT.by_name[name].key for name in header.split(","))
    assert "customer.id" in keys
    assert read("o.csv", f"{keys}\n{rows}", shop.CONTRACT) == read("o.csv", text, shop.CONTRACT)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"gift": "yes"}, "wrong_type"),
        ({"gift": ""}, "null_field"),
        ({"quantity": "two"}, "wrong_type"),
        ({"unit_price": "45,90"}, "not_an_object"),
        ({"unit_price": '"45,90"'}, "wrong_type"),
        ({"unit_price": "45.901"}, "excess_scale"),
        ({"paid_at": "2025-01-15"}, "wrong_type"),
        ({"order_timestamp": ""}, "invalid_timestamp"),
        ({"channel": "phone"}, "invalid_value"),
        ({"extra": "NaN"}, "not_an_object"),
        ({"extra": '"1, ""quantity"": 5"'}, "not_an_object"),
        ({"extra": "[" * 50_000}, "not_an_object"),
        ({"extra": '"{""a"": 1, ""a"": 2}"'}, "duplicate_key"),
    ],
)
def test_a_wrong_cell_is_rejected_by_the_contract(read: Read, cells: dict[str, str], expected: str) -> None:
    ((_, value, _),) = read("o.csv", shop_file(**cells), shop.CONTRACT)
    with pytest.raises(RecordRejected) as caught:
        exact_path.decode(value, shop.CONTRACT)
    assert caught.value.reason == expected


@given(st.lists(st.text('0.1-e" []{}x', max_size=5), min_size=13, max_size=13))
def test_contract_check_reads_a_row_as_produce_sends_it(cells: list[str]) -> None:
    rows = io.StringIO(newline="")
    csv.writer(rows).writerows([SHOP_ROW, cells])
    with TemporaryDirectory() as folder, Progress(disable=True) as progress:
        path = Path(folder) / "o.csv"
        path.write_text(rows.getvalue(), newline="")
        sent = [value for _, value, _ in files.read_messages(path, progress, shop.CONTRACT)]
        assert [value for _, value in input_files.read_messages(path, shop.CONTRACT)] == sent


def test_the_key_of_a_line_is_at_the_path_of_the_order_id(read: Read) -> None:
    lines = [shop.VALUE, shop.VALUE.replace(b'"orderId"', b'"order_id"'), b"[]"]
    assert read("o.jsonl", b"\n".join(lines), shop.CONTRACT) == [
        (b"PO-2025-123", lines[0], -1),
        (None, lines[1], -1),
        (None, lines[2], -1),
    ]
    numbers = contract_file.read('[order_id]\nkey = "order.id"\ntype = "integer"', "numbers.toml")
    messages = read("n.jsonl", b'{"order": {"id": 17}}\n{"order": {"id": "18"}}\n{"order": 1}', numbers)
    assert [key for key, _, _ in messages] == [b"17", b"18", None]
