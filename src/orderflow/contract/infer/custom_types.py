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
from orderflow.contract.infer.value_types import INTEGER, NUMBER, decimal_lines, integer_lines, kind_of, time_lines

_TIME_WORDS = {"at", "on", "date", "time", "timestamp", "ts", "ms", "created", "updated"}
_MAX_DISTINCT_VALUES = 10  # texts that suggest a list of allowed values


def type_lines(known: list[Any], path: Path, most: int) -> Iterator[str]:
    """Yield the keys that describe these values. `most` characters of a text are stored in the row."""
    kinds = {kind_of(value) for value in known}
    # A large integer may be an id, so that its name decides.
    is_time = kinds != {"integer"} or bool(_TIME_WORDS & {*words_of(path[-1])[-1:]})
    if is_time and (time := time_lines(known)):
        yield 'type = "timestamp"'
        yield from time
    elif kinds == {"boolean"}:
        yield 'type = "boolean"'
    elif kinds == {"integer"} and (limits := integer_lines(known)) is not None:
        yield 'type = "integer"'
        yield from limits
    elif kinds <= {"integer", "decimal"} and (digits := decimal_lines(known)):
        yield 'type = "decimal"'
        yield from digits
    elif kinds == {"string"}:
        yield from _text_lines(known, most)
    else:
        yield 'type = "json"'
        if max(len(json.dumps(value, default=str)) for value in known) * 4 > 65_536:
            yield f"max_bytes = {MAX_VALUE_BYTES}"
        if len(kinds) > 1:
            yield comment(f"The samples have several types: {', '.join(sorted(kinds))}.")


def _text_lines(known: list[str], most: int) -> Iterator[str]:
    if all(NUMBER.fullmatch(value) for value in known) and any("." in value for value in known):
        digits = decimal_lines([Decimal(value) for value in known])
        if digits:
            yield from ('type = "decimal"', 'json = "string"', *digits)
            return
    yield 'type = "string"'
    longest = max(map(len, known))
    length = next((length for length in LENGTHS if length >= min(2 * longest, LENGTHS[-1])), LENGTHS[-1])
    if length > most:
        length = max(length, 5 * MAX_VARCHAR)
    if length != 255:
        yield f"max_length = {length}   # the longest sample has {longest:,}"
    if all(INTEGER.fullmatch(value) for value in known):
        yield '# also possible: type = "integer", json = "string"'
    counts = Counter(known)
    if len(counts) <= _MAX_DISTINCT_VALUES and len(known) >= 5 * len(counts) and longest <= 50:
        shown = ", ".join(toml_string(value) for value in sorted(counts))
        yield comment(f"values = [{shown}]   # all texts of {len(known):,} samples")
