"""Decodes the messages of a batch, and writes LOAD DATA's format, in C: see native.c, which setup.py compiles.

In a clone that is not installed, the library is missing. All messages then take the exact path, and are decoded
much more slowly.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from orderflow.contract.definition import BIGINT_MAX, Contract, Field, Kind
from orderflow.contract.field_reader import default_value

_PATH = Path(__file__).with_name("native.so")
IS_COMPILED = _PATH.exists()

# The limits and types of native.c.
_MAX_COLUMNS = _MAX_KEYS = 64
_MAX_DECIMAL_DIGITS = 18
_TIME = 26  # bytes
_MAX_DATA = 2**31 - 1  # bytes: the ends of texts have 32 bits
_STRING, _IDENTIFIER, _INTEGER, _DECIMAL, _BOOLEAN, _UTC, _RFC3339, _EPOCH_MS, _JSON = range(9)
_TIMES = {"utc": _UTC, "rfc3339": _RFC3339, "epoch_ms": _EPOCH_MS}
_TYPES = {
    Kind.STRING: _STRING,
    Kind.INTEGER: _INTEGER,
    Kind.DECIMAL: _DECIMAL,
    Kind.BOOLEAN: _BOOLEAN,
    Kind.JSON: _JSON,
}
_JSON_SOURCE = {"number": 1, "string": 2, "any": 3}
_TOTALS = ("checked", "computed", "as_sent")
_UNKNOWN_POLICY = ("ignore", "keep", "reject")
_WRITE_TYPE = {pa.int8(): 0, pa.int32(): 1, pa.int64(): 2}
_WRITE_DECIMAL, _WRITE_IDENTIFIER, _WRITE_TIME, _WRITE_TEXT = range(3, 7)
_NUMBER_BYTES = 46  # at most, for a number and a tab
_NAME_BYTES = 64 * 1024  # for the paths of unknown fields, beyond the bytes of the values

_IS_ESCAPED = re.compile(r'["\\\x00-\x1f]')  # keys are compared without decoding them
_NULL = "\\N"  # a NULL in LOAD DATA files
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})
_NO_MARKS = str.maketrans("", "", "-:T ")

_UNKNOWN_FIELDS_SCHEMA = pa.schema([("name", pa.string()), ("batch_index", pa.int64())])


@cache
def _library() -> ctypes.CDLL:
    library, number, pointer = ctypes.CDLL(str(_PATH)), ctypes.c_int64, ctypes.c_void_p
    library.orderflow_read.restype = library.orderflow_write.restype = number
    library.orderflow_read.argtypes = [number, pointer, pointer, pointer]
    library.orderflow_write.argtypes = [number, number, pointer, pointer]
    return library


_allocate = pa.allocate_buffer  # the fuzz test's buffers have the exact size, and guards around them
_I32, _I64, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p


class _Key(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("name", "path")),
        *((name, _I32) for name in ("length", "path_length", "column", "first", "count")),
    ]


class _Column(ctypes.Structure):
    _fields_ = [
        *((name, _I32) for name in ("type", "from_", "is_required", "has_default", "scale", "default_length", "width")),
        *((name, _I64) for name in ("lowest", "highest", "default_number")),
        ("default_text", ctypes.c_char_p),
        *((name, _POINTER) for name in ("validity", "values", "ends")),
    ]


class _Contract(ctypes.Structure):
    _fields_ = [
        *((name, _I32) for name in ("total", "unknown", "first", "count")),
        *((name, _POINTER) for name in ("keys", "columns")),
        ("column_count", _I64),
        *((name, _POINTER) for name in ("batch_index", "name_ends", "names", "name_batch_index")),
        *((name, _I64) for name in ("max_names", "max_name_bytes", "name_count")),
    ]


class _Written(ctypes.Structure):
    _fields_ = [
        *((name, _I32) for name in ("type", "scale")),
        ("first", _I64),
        *((name, _POINTER) for name in ("validity", "ends", "values")),
    ]


def unsupported_reason(contract: Contract) -> str:
    """Return why the library cannot read messages of this contract, as a clause; empty if it can."""
    if len(contract.columns) > _MAX_COLUMNS:
        return f"it has more than {_MAX_COLUMNS} columns"
    if len(_keys(contract)) > _MAX_KEYS:
        return f"it has more than {_MAX_KEYS} keys"
    for field in contract.fields:
        if field.kind is Kind.DECIMAL and field.precision > _MAX_DECIMAL_DIGITS:
            return f"{field.name} has more than {_MAX_DECIMAL_DIGITS} digits"
        if sum(other.path == field.path for other in contract.fields if field.path) > 1:
            return f"the key {field.key} is read by more than one field"
        if any(_IS_ESCAPED.search(key) for key in field.path):
            return f"the key {field.key!a} has characters that JSON escapes"
    return ""


@lru_cache(maxsize=16)
def _compiled(contract: Contract) -> tuple[Any, list[_Column]] | None:
    """Return the contract's keys and columns as native.c reads them; None if it cannot."""
    if not IS_COMPILED or unsupported_reason(contract):
        return None
    keys = _keys(contract)
    return (_Key * len(keys))(*keys), [_column(contract, field) for field in contract.columns]


def _keys(contract: Contract) -> list[_Key]:
    """Return the keys of the message, followed by those of its inner objects."""
    columns = {field.path: index for index, field in enumerate(contract.fields)}
    keys: list[_Key] = []
    waiting: list[tuple[dict[str, Any], tuple[str, ...], _Key | None]] = [(contract.key_tree, (), None)]
    for inner, path, parent in waiting:
        if parent:
            parent.first, parent.count = len(keys), len(inner)
        for name, inner_keys in inner.items():
            key_path = (*path, name)
            name_bytes, dotted = name.encode(), "".join(f"{key_name}." for key_name in key_path).encode()
            key = _Key(name_bytes, dotted, len(name_bytes), len(dotted), -1 if inner_keys else columns[key_path])
            keys.append(key)
            if inner_keys:
                waiting.append((inner_keys, key_path, key))
    return keys


def _column(contract: Contract, field: Field) -> _Column:
    column = _Column(is_required=field.required and bool(field.path), has_default=field.default is not None)
    if field.name == "total_price" and contract.total == "computed":
        column.is_required = False
    column.type = _IDENTIFIER if field.name == "order_id" else _TYPES.get(field.kind, _TIMES[field.format])
    column.scale = field.scale
    if field.kind is Kind.STRING:
        column.lowest, column.highest = max(field.min_length, field.name == "order_id"), field.max_length
    elif field.kind is Kind.JSON:
        column.highest = field.max_length
    elif field.kind is Kind.TIMESTAMP:
        column.highest = BIGINT_MAX
    else:
        step = 10**field.scale if field.kind is Kind.DECIMAL else 1
        column.lowest, column.highest = int(field.lowest * step), int(field.highest * step)
    if field.kind in (Kind.INTEGER, Kind.DECIMAL) or field.format == "epoch_ms":
        column.from_ = _JSON_SOURCE[field.json]
    if pa.types.is_string(field.arrow_type):
        default = str(default_value(field) or "").encode()
        column.default_text, column.default_length = default, len(default)
    else:
        column.width = field.arrow_type.bit_width // 8
        if (value := default_value(field)) is not None:
            column.default_number = int(value.scaleb(field.scale)) if field.kind is Kind.DECIMAL else value
    return column


def read(values: pa.Array, contract: Contract) -> tuple[pa.Table, pa.Table]:
    """Decode the values (large_binary) that are valid orders in the usual notation; skip all others.

    Return the orders, with the columns of `contract.arrow_schema`, and the name and batch_index of each unknown field
    that is ignored. Patterns and lists of allowed values are not checked.
    """
    compiled = _compiled(contract)
    _, ends, data = values.buffers()
    size = data.size if data else 0
    count = len(values)
    if compiled is None or not size:
        return contract.arrow_schema.empty_table(), _UNKNOWN_FIELDS_SCHEMA.empty_table()
    keys, columns = compiled
    if size + count * max(_TIME, *(column.default_length for column in columns)) > _MAX_DATA:
        return contract.arrow_schema.empty_table(), _UNKNOWN_FIELDS_SCHEMA.empty_table()
    batch_columns = (_Column * len(columns))(*columns)
    buffers = [
        _allocate_column(field, column, count, size)
        for field, column in zip(contract.columns, batch_columns, strict=True)
    ]
    batch_index = _allocate(8 * count)
    c_contract = _Contract(
        _TOTALS.index(contract.total), _UNKNOWN_POLICY.index(contract.unknown_fields), 0, len(contract.key_tree)
    )
    c_contract.keys, c_contract.columns, c_contract.column_count = (
        ctypes.addressof(keys),
        ctypes.addressof(batch_columns),
        len(columns),
    )
    c_contract.batch_index = batch_index.address
    names = _allocate_names(c_contract, size)
    rows = _library().orderflow_read(count, ends.address, data.address, ctypes.byref(c_contract))
    arrays = [
        pa.Array.from_buffers(field.arrow_type, rows, column_buffers)
        for field, column_buffers in zip(contract.columns, buffers, strict=True)
    ]
    arrays.append(pa.Array.from_buffers(pa.int64(), rows, [None, batch_index]))
    return pa.table(arrays, schema=contract.arrow_schema), _unknown_fields(c_contract.name_count, names)


def _allocate_column(field: Field, column: _Column, count: int, size: int) -> list[pa.Buffer | None]:
    """Allocate the Arrow buffers of a column for `count` messages of `size` bytes in total, and set their addresses."""
    if column.width:
        data_buffers = [_allocate(count * column.width)]
    else:
        size_of_texts = count * _TIME if field.kind is Kind.TIMESTAMP else count * column.default_length + size
        data_buffers = [_allocate(4 * (count + 1)), _allocate(size_of_texts)]
        column.ends = data_buffers[0].address
        _I32.from_address(data_buffers[0].address).value = 0
    column.values = data_buffers[-1].address
    validity = _allocate((count + 7) // 8) if field.is_nullable else None
    column.validity = validity.address if validity else None
    return [validity, *data_buffers]


def _allocate_names(c_contract: _Contract, size: int) -> list[pa.Buffer]:
    """Allocate space for the names of unknown fields: the shortest one with its value has 6 bytes."""
    if c_contract.unknown == _UNKNOWN_POLICY.index("ignore"):
        c_contract.max_names, c_contract.max_name_bytes = size // 6 + 1, min(size + _NAME_BYTES, _MAX_DATA)
    buffers = [
        _allocate(buffer_size)
        for buffer_size in (4 * (c_contract.max_names + 1), c_contract.max_name_bytes, 8 * c_contract.max_names)
    ]
    c_contract.name_ends, c_contract.names, c_contract.name_batch_index = (buffer.address for buffer in buffers)
    _I32.from_address(c_contract.name_ends).value = 0
    return buffers


def _unknown_fields(count: int, buffers: list[pa.Buffer]) -> pa.Table:
    if not count:
        return _UNKNOWN_FIELDS_SCHEMA.empty_table()
    ends, names, batch_index = buffers
    arrays = [
        pa.Array.from_buffers(pa.string(), count, [None, ends, names]),
        pa.Array.from_buffers(pa.int64(), count, [None, batch_index]),
    ]
    return pa.table(arrays, schema=_UNKNOWN_FIELDS_SCHEMA)


def write(rows: pa.Table, *, times: Collection[str], free_texts: Collection[str]) -> pa.Buffer:
    r"""Return the rows in the format of LOAD DATA. Columns are int8, int32, int64, decimal128 or string.

    Backslashes, tabs and line breaks are escaped only in free texts; other columns must not contain them. Times are in
    ISO 8601, with T or a space. NULL is \N.
    """
    if not IS_COMPILED:
        return pa.py_buffer(_write_in_python(rows, times, free_texts))
    columns = [column.combine_chunks() for column in rows.columns]
    written = (_Written * len(columns))()
    size = 0
    for name, column, target in zip(rows.column_names, columns, written, strict=True):
        validity, *data_buffers = column.buffers()
        target.first, target.validity = column.offset, validity.address if validity else None
        if column.type == pa.string():
            target.type = _WRITE_TEXT if name in free_texts else _WRITE_TIME if name in times else _WRITE_IDENTIFIER
            ends, values = data_buffers
            target.ends, target.values = (
                ends.address + 4 * column.offset,
                values.address if values else None,
            )
            size += 2 * (values.size if values else 0) + 3 * len(column)
        else:
            target.type = _WRITE_TYPE.get(column.type, _WRITE_DECIMAL)
            target.scale = column.type.scale if target.type == _WRITE_DECIMAL else 0
            target.values = data_buffers[0].address + column.offset * column.type.bit_width // 8
            size += _NUMBER_BYTES * len(column)
    lines = _allocate(size)
    return lines.slice(0, _library().orderflow_write(rows.num_rows, len(columns), written, lines.address))


def _write_in_python(rows: pa.Table, times: Collection[str], free_texts: Collection[str]) -> bytes:
    columns: list[list[str]] = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        marks = _ESCAPES if name in free_texts else _NO_MARKS if name in times else {}
        columns.append([_NULL if value is None else _text(value).translate(marks) for value in column.to_pylist()])
    return "".join(["\t".join(row) + "\n" for row in zip(*columns, strict=True)]).encode()


def _text(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
