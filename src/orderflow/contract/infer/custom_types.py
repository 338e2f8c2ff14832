"""The type, length and limits of a custom field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from orderflow.contract.definition import MAX_VALUE_BYTES, MAX_VARCHAR
from orderflow.contract.infer.field_names import Path, words_of
from orderflow.contract.infer.field_values import LENGTHS
from orderflow.contract.infer.toml_text import comment, toml_string
from orderflow.contract.infer.value_types import INTEGER, NUMBER, decimal_lines, integer_lines, time_lines, type_name
from orderflow.plurals import counted

_TIME_WORDS = {"at", "on", "date", "time", "timestamp", "ts", "ms", "created", "updated"}
_MAX_DISTINCT_VALUES = 10  # texts that suggest a list of allowed values


def type_lines(values: list[Any], path: Path, row_length: int) -> Iterator[str]:
    """Yield the keys that describe these values. Texts of up to `row_length` characters are stored in the row."""
    types = {type_name(value) for value in values}
    # A large integer may be an id, so that its name decides.
    is_time = types != {"integer"} or bool(_TIME_WORDS & {*words_of(path[-1])[-1:]})
    if is_time and (times := time_lines(values)):
        yield 'type = "timestamp"'
        yield from times
    elif types == {"boolean"}:
        yield 'type = "boolean"'
    elif types == {"integer"} and (limits := integer_lines(values)) is not None:
        yield 'type = "integer"'
        yield from limits
    elif types <= {"integer", "decimal"} and (digits := decimal_lines(values)):
        yield 'type = "decimal"'
        yield from digits
    elif types == {"string"}:
        yield from _text_lines(values, row_length)
    else:
        yield 'type = "json"'
        if max(len(json.dumps(value, default=str)) for value in values) * 4 > 65_536:
            yield f"max_bytes = {MAX_VALUE_BYTES}"
        if len(types) > 1:
            yield comment(f"The samples have several types: {', '.join(sorted(types))}.")


def _text_lines(texts: list[str], row_length: int) -> Iterator[str]:
    if all(NUMBER.fullmatch(text) for text in texts) and any("." in text for text in texts):
        digits = decimal_lines([Decimal(text) for text in texts])
        if digits:
            yield from ('type = "decimal"', 'json = "string"', *digits)
            return
    yield 'type = "string"'
    longest = max(map(len, texts))
    length = next((length for length in LENGTHS if length >= min(2 * longest, LENGTHS[-1])), LENGTHS[-1])
    if length > row_length:
        length = max(length, 5 * MAX_VARCHAR)
    if length != 255:
        yield f"max_length = {length}   # the longest sample has {longest:,}"
    if all(INTEGER.fullmatch(text) for text in texts):
        yield '# also possible: type = "integer", json = "string"'
    counts = Counter(texts)
    if len(counts) <= _MAX_DISTINCT_VALUES and len(texts) >= 5 * len(counts) and longest <= 50:
        distinct_texts = ", ".join(toml_string(text) for text in sorted(counts))
        yield comment(f"values = [{distinct_texts}]   # all texts of {counted(len(texts), 'sample')}")
