"""The values of the standard fields: which ones fit, and the keys of a contract file that describe them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from orderflow.contract.definition import BIGINT_MAX, DEFAULT, INT_MAX, PRINTABLE
from orderflow.contract.infer.id_pattern import pattern_of
from orderflow.contract.infer.toml_text import toml_literal
from orderflow.contract.infer.value_types import INTEGER, as_number, time_lines
from orderflow.contract.patterns import matcher
from orderflow.plurals import counted

LENGTHS = (20, 50, 100, 255, 500, 1_000, 5_000, 20_000, 100_000)
_CENT, _HIGHEST_AMOUNT = DEFAULT.by_name["unit_price"].unit, DEFAULT.by_name["unit_price"].highest


def _text_form(value: Any, max_length: int = LENGTHS[-1]) -> str:
    return "string" if isinstance(value, str) and 1 <= len(value) <= max_length else ""


def _order_id_form(value: Any) -> str:
    if type(value) is int:
        return "integer" if -BIGINT_MAX <= value <= BIGINT_MAX else ""
    is_id = isinstance(value, str) and len(value) <= 50 and PRINTABLE.fullmatch(value) and re.search("[0-9]", value)
    return "string" if is_id else ""


def _customer_id_form(value: Any) -> str:
    return "integer" if type(value) is int and abs(value) <= BIGINT_MAX else _text_form(value, 255)


def _amount_form(value: Any) -> str:
    number = as_number(value)
    is_amount = number is not None and number.copy_abs() <= _HIGHEST_AMOUNT and number == number.quantize(_CENT)
    return "number" if is_amount else ""


def _integer_form(value: Any) -> str:
    is_integer = type(value) is int or (isinstance(value, str) and INTEGER.fullmatch(value))
    return "integer" if is_integer and abs(int(value)) <= INT_MAX else ""


# Each returns the form of a value that can be the field's, and an empty text for another value.
FORM_OF_VALUE: dict[str, Callable[[Any], str]] = {
    "order_id": _order_id_form,
    "customer_id": _customer_id_form,
    "order_timestamp": lambda value: (time_lines([value]) or [""])[0],
    "product_name": _text_form,
    "product_category": lambda value: _text_form(value, 100),
    "unit_price": _amount_form,
    "quantity": _integer_form,
    "total_price": _amount_form,
}


def _order_id_lines(_name: str, values: list[Any], _missing_count: int) -> Iterator[str]:
    if isinstance(values[0], int):
        yield 'type = "integer"'
        if min(values) < 1:
            yield f"minimum = {min(values)}"
        return
    if not all(matcher(DEFAULT.by_name["order_id"].pattern)(text) for text in values):
        yield f"pattern = {toml_literal(pattern_of(values))}"
        yield f"examples = [{toml_literal(values[0])}]   # `orderflow produce` replaces its last digits by a number"


def _customer_id_lines(_name: str, values: list[Any], missing_count: int) -> Iterator[str]:
    if isinstance(values[0], int):
        lowest = min(*values, 0 if missing_count else 1)
        if lowest < 1:
            yield f"minimum = {lowest}"
        if max(values) > INT_MAX // 10:
            yield f"maximum = {BIGINT_MAX}"
        default = "0"
    else:
        yield 'type = "string"'
        if max(map(len, values)) > 25:
            yield "max_length = 255"
        if all(INTEGER.fullmatch(text) for text in values):
            yield '# also possible: type = "integer", json = "string"'
        default = '"unknown"'
    if missing_count:
        yield f"default = {default}   # missing or null in {counted(missing_count, 'sample')}"


def _product_lines(name: str, texts: list[str], missing_count: int) -> Iterator[str]:
    longest = max(map(len, texts))
    if longest > DEFAULT.by_name[name].max_length:
        yield f"max_length = {next(length for length in LENGTHS if length >= longest)}"
    if missing_count:
        yield f'default = "unknown"   # missing or null in {counted(missing_count, "sample")}'


def _number_lines(_name: str, values: list[Any], _missing_count: int) -> Iterator[str]:
    text_count = sum(isinstance(value, str) for value in values)
    if text_count:
        yield f'json = "{"string" if text_count == len(values) else "any"}"'
    lowest = min(Decimal(value) for value in values)
    if lowest <= 0:
        yield f"minimum = {lowest:f}"


# Each yields the keys that describe these values of the named field; samples without the field are counted.
KEYS_FOR_VALUES: dict[str, Callable[[str, list[Any], int], Iterable[str]]] = {
    "order_id": _order_id_lines,
    "customer_id": _customer_id_lines,
    "order_timestamp": lambda _name, values, _missing_count: time_lines(values) or (),
    "product_name": _product_lines,
    "product_category": _product_lines,
    "unit_price": _number_lines,
    "quantity": _number_lines,
    "total_price": _number_lines,
}
