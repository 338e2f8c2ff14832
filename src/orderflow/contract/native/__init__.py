"""The two steps of a batch that process each byte, in C: see native.c, which setup.py compiles.

In a clone that is not installed, the library is missing. All messages then take the exact path, at a tenth of the
speed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pyarrow as pa

_PATH = Path(__file__).with_name("native.so")
IS_COMPILED = _PATH.exists()
_NUMBERS = {pa.int32(): 0, pa.int64(): 1, pa.decimal128(10, 2): 2}  # Arrow types to the types of native.c
_IDENTIFIER, _TIME, _TEXT = 3, 4, 5
_NUMBER_BYTES = 22  # at most, for a number and a tab
NULL_TIME = "\\N"  # a NULL time in LOAD DATA files
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})
_NO_MARKS = str.maketrans("", "", "-:T ")


@cache
def _library() -> ctypes.CDLL:
    library, number, pointer = ctypes.CDLL(str(_PATH)), ctypes.c_int64, ctypes.c_void_p
    library.orderflow_read.restype = library.orderflow_write.restype = number
    library.orderflow_read.argtypes = [number, pointer, pointer, pointer]
    library.orderflow_write.argtypes = [number, number, pointer, pointer]
    return library


class _Written(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("ends", ctypes.c_void_p), ("values", ctypes.c_void_p)]


def read(values: pa.Array, schema: pa.Schema) -> pa.Table:
    """Decode the values (large_binary) that are valid orders in the usual JSON notation; skip all others.

    `schema` must match Columns in native.c: the contract's fields in their order, then `batch_index`, the position of
    the value.
    """
    if not (IS_COMPILED and len(values)):
        return schema.empty_table()
    _, ends, data = values.buffers()
    sizes = [
        [4 * (len(values) + 1), data.size if data else 0]
        if kind == pa.string()
        else [len(values) * kind.bit_width // 8]
        for kind in schema.types
    ]
    buffers = [[pa.allocate_buffer(size) for size in of_column] for of_column in sizes]
    addresses = [buffer.address for of_column in buffers for buffer in of_column]
    columns = (ctypes.c_void_p * len(addresses))(*addresses)
    rows = _library().orderflow_read(len(values), ends.address, data.address if data else None, columns)
    found = [
        pa.Array.from_buffers(kind, rows, [None, *of_column])
        for kind, of_column in zip(schema.types, buffers, strict=True)
    ]
    return pa.table(found, schema=schema)


def write(rows: pa.Table, *, times: Collection[str], free_texts: Collection[str]) -> pa.Buffer:
    r"""Return the rows in the format of LOAD DATA. Columns are int32, int64, decimal128(10, 2) or string, not null.

    Backslashes, tabs and line breaks are escaped only in free texts; other columns must not contain them. Times are in
    ISO 8601, with T or a space, or \N for NULL.
    """
    if not IS_COMPILED:
        return pa.py_buffer(_write_in_python(rows, times, free_texts))
    columns = [column.combine_chunks() for column in rows.columns]
    written = (_Written * len(columns))()
    size = 0
    for name, column, to in zip(rows.column_names, columns, written, strict=True):
        *_, first, values = column.buffers()
        if column.type == pa.string():
            to.type = _TEXT if name in free_texts else _TIME if name in times else _IDENTIFIER
            to.ends, to.values = first.address + 4 * column.offset, values.address if values else None
            size += 2 * (values.size if values else 0) + len(column)
        else:
            to.type = _NUMBERS[column.type]
            to.values = values.address + column.offset * column.type.bit_width // 8
            size += _NUMBER_BYTES * len(column)
    lines = pa.allocate_buffer(size, resizable=True)
    lines.resize(_library().orderflow_write(rows.num_rows, len(columns), written, lines.address), shrink_to_fit=False)
    return lines


def _write_in_python(rows: pa.Table, times: Collection[str], free_texts: Collection[str]) -> bytes:
    columns: list[list[str]] = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        texts = [str(value) for value in column.to_pylist()]
        if name in free_texts:
            texts = [text.translate(_ESCAPES) for text in texts]
        elif name in times:
            texts = [text if text == NULL_TIME else text.translate(_NO_MARKS) for text in texts]
        columns.append(texts)
    return "".join(["\t".join(row) + "\n" for row in zip(*columns, strict=True)]).encode()
