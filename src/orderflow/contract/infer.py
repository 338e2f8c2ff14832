"""Infers a contract file from samples, with comments for the person who checks it.

Names suggest which key is which of the eight fields, and the values must fit. All other keys become own fields.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

from orderflow.contract import loader
from orderflow.contract.cells import converter
from orderflow.contract.definition import (
    BIGINT_MAX,
    DEFAULT,
    EIGHT,
    INT_MAX,
    LAST_MILLISECOND,
    MAX_VALUE_BYTES,
    MAX_VARCHAR,
    PRINTABLE,
    Contract,
)
from orderflow.contract.exact_path import read_exactly
from orderflow.contract.patterns import check, matcher
from orderflow.errors import ContractInvalid, RecordRejected

Path = tuple[str, ...]
Values = Mapping[int, Any]  # by the sample's index; a sample without the key has none

_ALIASES = {
    "order_id": "order_id order_number order_no order_nr order_num order_reference order_ref order_code order_key"
    " order_uuid order_name order id uuid number name reference ref key",
    "customer_id": "customer_id customer_number customer_no customer_nr customer_ref customer user_id client_id"
    " buyer_id account_id member_id shopper_id cust_id user customer_email email",
    "order_timestamp": "order_timestamp order_date order_time order_datetime ordered_at order_created_at placed_at"
    " created_at created created_on creation_date date_created date_created_gmt create_time purchase_date purchased_at"
    " timestamp datetime date time ts event_time processed_at",
    "product_name": "product_name product_title item_name item_title product item title article_name article"
    " description product_sku sku name",
    "product_category": "product_category product_category_name category category_name product_type item_category"
    " item_type product_group type department collection",
    "unit_price": "unit_price price_per_unit unit_amount unit_cost item_price product_price price subtotal_price"
    " amount",
    "quantity": "quantity qty product_quantity item_quantity order_quantity units item_count count pieces",
    "total_price": "total_price total_amount order_total grand_total total price_total line_total total_value amount"
    " sum order_amount order_value",
}
_MONEY = ("unit_price", "quantity", "total_price")
_NEUTRAL = {"order", "data", "payload", "body", "message", "event", "purchase", "sale"}  # objects around the order
_OTHERS = {"customer", "user", "client", "buyer", "shipping", "billing", "payment", "refund"}
_HINTS = {
    "order_id": ['key = "…"   # the unique id of an order', "pattern = '[0-9]{1,20}'"],
    "customer_id": ['key = "…"', 'type = "string"   # or "integer"'],
    "order_timestamp": ['key = "…"', 'format = "rfc3339"   # or "utc", "epoch_ms"'],
    "product_name": ['key = "…"', "or, if an order has no product or several:"],
    "product_category": ['key = "…"', "or, if orders have no category:"],
    "unit_price": ['key = "…"   # with quantity fixed = 1, perhaps the total of the order'],
    "quantity": ['key = "…"', "or, if an order has no quantity or several:"],
}
_FIXED = {"product_name": '"order"', "product_category": '"all"', "quantity": "1"}
_TIME_WORDS = {"at", "on", "date", "time", "timestamp", "ts", "ms", "created", "updated"}
_DEPTH = 5  # keys of a path
_USUAL = 0.9  # share of a key's values: if fewer fit, it is not the field
_CANDIDATES = 4  # of each field
_PROBES = 200  # samples that decide between candidates
_LENGTHS = (20, 50, 100, 255, 500, 1_000, 5_000, 20_000, 100_000)
_MAX_DISTINCT_VALUES = 10  # texts that suggest a list of allowed values
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W0-9_]")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_PADDED = re.compile(r"0[0-9]+")  # digits that are no number, such as a postal code
_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.(\d{1,9}))?", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.(\d{1,9}))?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_EARLIEST = 100_000_000_000  # milliseconds, of the year 1973: smaller numbers are no times in milliseconds
_RUNS = re.compile(r"[0-9]+|[A-Z]+|[a-z]+|[^0-9A-Za-z]")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CENT, _HIGHEST_AMOUNT = DEFAULT.by_name["unit_price"].unit, DEFAULT.by_name["unit_price"].highest
_ANY_ID = "[!-~]{1,50}"
_MARGIN = 6  # more digits than in the samples, for growing numbers


class Samples(NamedTuple):
    """Samples, decoded. `messages` returns them as messages for a contract."""

    objects: Sequence[dict[str, Any]]
    messages: Callable[[Contract], Sequence[bytes]]
    are_cells: bool = False


def of_json(values: Sequence[bytes]) -> Samples:
    """Return the samples of these messages. Raises ValueError; `decode` names the reason."""
    return Samples([decode(value) for value in values], lambda _: values)


def decode(value: bytes) -> dict[str, Any]:
    """Return the object of a message. Raises ValueError with the reason, as a clause."""
    try:
        found = json.loads(value.decode(), parse_float=Decimal, parse_int=_parse_integer, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _parse_integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= 20 else Decimal(digits)


def _refuse(name: str) -> None:
    raise ValueError(name)


def of_cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Samples:
    """Return the samples of the rows of a CSV file. Its cells' spelling decides a column's type."""
    readers = [_reader([cell for cell in column if cell]) for column in zip(*rows, strict=True)]
    objects = [
        {name: read(cell) if cell else None for name, read, cell in zip(header, readers, row, strict=True)}
        for row in rows
    ]
    return Samples(objects, lambda contract: [*map(converter(header, contract), rows)], are_cells=True)


def _reader(cells: Sequence[str]) -> Callable[[str], Any]:
    numbers = sum(bool(_NUMBER.fullmatch(cell)) for cell in cells)
    if numbers >= _USUAL * len(cells) and not any(_PADDED.fullmatch(cell) for cell in cells):
        return _read_number
    if all(cell in ("true", "false") for cell in cells):
        return "true".__eq__
    return json.loads if all(cell[0] in "[{" and _is_json(cell) for cell in cells) else str


def _read_number(cell: str) -> int | Decimal | str:
    if not _NUMBER.fullmatch(cell):
        return cell
    return int(cell) if _INTEGER.fullmatch(cell) else Decimal(cell)


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True


def infer(samples: Samples, name: str) -> str:
    """Return the text of a contract file; `name` is the samples' name in its comments."""
    for most in (MAX_VARCHAR, 255, 100, 50):
        inference = _Inference(samples, most)
        text = "\n".join(inference.lines())
        try:
            head = [*_head(samples, text, name, inference.missing)]
        except ContractInvalid as error:  # the row is too large: store the longer texts outside of it
            refused = error
        else:
            return "\n".join(head) + "\n\n" + text + "\n"
    raise refused


def _head(samples: Samples, text: str, name: str, missing: Sequence[str]) -> Iterator[str]:
    contract = loader.read(text, name)
    values = samples.messages(contract)
    rejected = _rejections(values, contract)
    yield _comment(f"Contract of the orders of {name}, by `orderflow contract infer`.")
    yield _comment(f"It accepts {len(values) - len(rejected):,} of {len(values):,} samples.")
    if missing:
        yield _comment(f"Not found, to be filled in below: {', '.join(missing)}.")
        if {*missing} <= _FIXED.keys():
            filled = "".join(f"\n[{field}]\nfixed = {_FIXED[field]}\n" for field in missing)
            contract = loader.read(text + filled, name)
            rejected = _rejections(samples.messages(contract), contract)
            yield _comment(f"With the values for fixed below, it accepts {len(values) - len(rejected):,}.")
    for reason, count in Counter(error.reason for _, error in rejected).most_common(5):
        number, first = next(found for found in rejected if found[1].reason == reason)
        yield _comment(f"Rejected: {count:,} {reason}, for example sample {number:,}: {first.message}.")
    yield "# Check each table: this is a proposal from names and samples. docs/contract.md describes all keys."


def _rejections(values: Sequence[bytes], contract: Contract) -> list[tuple[int, RecordRejected]]:
    rejected = []
    for number, value in enumerate(values, 1):
        try:
            read_exactly(value, contract)
        except RecordRejected as error:
            rejected.append((number, error))
    return rejected


class _Inference:
    def __init__(self, samples: Samples, most: int) -> None:
        """`most` characters of a text are stored in the row."""
        self._count, self._most, self._are_cells = len(samples.objects), most, samples.are_cells
        self._found: dict[Path, Values] = {}
        self._walk((), dict(enumerate(samples.objects)))
        self._skipped = [path for path in self._found if not all(path) or not _is_writable("".join(path))]
        for path in self._skipped:
            del self._found[path]
        self._candidates = {name: self._rank(name) for name in EIGHT}
        self._chosen = self._choose()
        self.missing = [name for name in EIGHT if name not in self._chosen and name != "total_price"]

    def _walk(self, path: Path, values: Values) -> None:
        """Find the keys of objects, and of the objects in them."""
        if path:
            self._found[path] = values
        known = {index: value for index, value in values.items() if value is not None}
        if len(path) < _DEPTH and known and all(isinstance(value, dict) for value in known.values()):
            for key in dict.fromkeys(key for value in known.values() for key in value):
                self._walk((*path, key), {index: value[key] for index, value in known.items() if key in value})

    def _rank(self, name: str) -> list[Path]:
        """Return the keys that are called like the field, the best first."""
        scores = {path: score for path in self._found if (score := _similarity(name, path)) is not None}
        return sorted(scores, key=lambda path: (name == "order_id" and self._repeats(path), scores[path]))

    def _known(self, path: Path) -> list[Any]:
        return [value for value in self._found[path].values() if value is not None]

    def _repeats(self, path: Path) -> bool:
        known = [str(value) for value in self._known(path)]
        return len({*known}) < len(known)

    def _fitting(self, name: str, path: Path) -> list[Any]:
        """Return the values that can be the field's, all of one form; none unless almost all values are."""
        known = self._known(path)
        forms = [_FORMS[name](value) for value in known]
        [(usual, count)] = Counter(form for form in forms if form).most_common(1) or [("", 0)]
        is_usual = count * 2 > self._count and count >= _USUAL * len(known)
        return [value for value, form in zip(known, forms, strict=True) if form == usual] if is_usual else []

    def _choose(self) -> dict[str, Path]:
        chosen: dict[str, Path] = {}
        for name in ("order_id", "customer_id", "order_timestamp", "product_name", "product_category"):
            free = [
                path for path in self._candidates[name] if path not in chosen.values() and self._fitting(name, path)
            ]
            if free:
                chosen[name] = free[0]
        options: list[list[Path | None]] = [
            [*[path for path in self._candidates[name] if self._fitting(name, path)][:_CANDIDATES], None]
            for name in _MONEY
        ]
        combinations = [
            found
            for found in product(*options)
            if len({*found} - {None}) == len([path for path in found if path]) and not {*found} & {*chosen.values()}
        ]
        # Names decide, unless only other keys have a total that is the price times the quantity.
        ranks = [{path: rank for rank, path in enumerate(option)} for option in options]
        best = min(
            combinations,
            key=lambda found: (
                found.count(None),
                None in found or bool(self._differing(found, _PROBES)),
                sum(rank[path] for rank, path in zip(ranks, found, strict=True)),
            ),
        )
        return chosen | {name: path for name, path in zip(_MONEY, best, strict=True) if path}

    def _differing(self, paths: Sequence[Path | None], most: int) -> list[tuple[int, Decimal, Decimal, Decimal]]:
        """Return the samples whose total is not the price times the quantity, with the three numbers."""
        values = [self._found[path] for path in paths if path]
        found = []
        for index in [*values[0]][:most]:
            numbers = [_as_number(value.get(index)) for value in values]
            price, quantity, total = numbers
            if price is not None and quantity is not None and total is not None and price * quantity != total:
                found.append((index, price, quantity, total))
        return found

    def lines(self) -> Iterator[str]:
        """Yield the lines of the contract file."""
        expanded = {path[:depth] for path in self._chosen.values() for depth in range(1, len(path))}
        own = [
            path
            for path in self._found
            if path not in expanded and path not in self._chosen.values() and path[:-1] in expanded | {()}
        ]
        too_many = max(0, len(own) - loader.MAX_OWN_FIELDS)
        unknown = "keep" if too_many else "ignore"
        yield f'unknown_fields = "{unknown}"   # fields that this file does not name: "ignore", "keep" or "reject"'
        if self._skipped or too_many:
            yield _comment(f"{len(self._skipped) + too_many:,} keys cannot be fields of their own.")
        for name in EIGHT:
            yield ""
            yield from self._eight(name) if name in self._chosen else self._absent(name)
        names: set[str] = set()
        for path in own[: loader.MAX_OWN_FIELDS]:
            yield ""
            yield from self._own(path, _column_name(path, names))

    def _absent(self, name: str) -> Iterator[str]:
        if name == "total_price":
            yield "[total_price]"
            yield 'total = "computed"   # not found: unit_price × quantity'
            return
        yield f"# [{name}]   # not found"
        for path in self._candidates[name][:3]:
            wrong = [value for value in self._known(path) if not _FORMS[name](value)]
            shown = f", such as {_shown(wrong[0])}" if wrong else ""
            yield _comment(f"{_key(path)} has the name, but not the values{shown}.")
        yield from (f"# {hint}" for hint in _HINTS[name])
        if name in _FIXED:
            yield f"# fixed = {_FIXED[name]}"

    def _eight(self, name: str) -> Iterator[str]:
        path = self._chosen[name]
        known, lacking = self._fitting(name, path), self._count - len(self._known(path))
        lines = [f"key = {_key(path)}"] if path != (name,) else []
        lines += _LINES[name](name, known, lacking)
        if name == "total_price":
            lines += self._total(lacking)
        yield f"[{name}]"
        yield from lines or ["# as in the default contract"]
        if lacking and name not in ("customer_id", "product_name", "product_category", "total_price"):
            yield _comment(f"Missing or null in {lacking:,} of {self._count:,} samples, which are rejected.")
        others = [
            other
            for other in self._candidates[name]
            if other != path and other not in self._chosen.values() and self._fitting(name, other)
        ]
        if others:
            yield _comment("also possible: " + ", ".join(f"key = {_key(other)}" for other in others[:5]))
        if name == "order_id" and self._repeats(path):
            yield _comment("Some samples have the same order_id: only the first of them would be stored.")

    def _total(self, lacking: int) -> Iterator[str]:
        paths = [self._chosen.get(name) for name in _MONEY]
        differing = self._differing(paths, self._count) if None not in paths else []
        if differing:
            index, price, quantity, total = differing[0]
            yield 'total = "as_sent"   # or "checked", "computed": unit_price × quantity'
            yield _comment(
                f"Not unit_price × quantity in {len(differing):,} of {self._count:,} samples; sample {index + 1:,}:"
                f" {price} × {quantity} is not {total}."
            )
        elif lacking:
            yield f'total = "computed"   # missing or null in {lacking:,} of {self._count:,} samples'
        elif None in paths:
            yield 'total = "as_sent"   # "checked" demands unit_price × quantity'
        else:
            yield 'total = "checked"   # unit_price × quantity in all samples'

    def _own(self, path: Path, name: str) -> Iterator[str]:
        known = self._known(path)
        if not known and self._are_cells:
            yield from (f"[fields.{name}]", f"key = {_key(path)}", 'type = "string"')
            yield "required = false   # empty in all samples"
            return
        if not known:
            yield f"# [fields.{name}]   # null in all samples: its type is unknown"
            yield f"# key = {_key(path)}"
            return
        yield f"[fields.{name}]"
        if path != (name,):
            yield f"key = {_key(path)}"
        yield from self._type(known, path)
        if lacking := self._count - len(known):
            yield f"required = false   # missing or null in {lacking:,} of {self._count:,} samples"

    def _type(self, known: list[Any], path: Path) -> Iterator[str]:
        kinds = {_kind(value) for value in known}
        # A large integer may be an id, so that its name decides.
        is_time = kinds != {"integer"} or bool(_TIME_WORDS & {*_words(path[-1])[-1:]})
        if is_time and (time := _time_lines(known)):
            yield 'type = "timestamp"'
            yield from time
        elif kinds == {"boolean"}:
            yield 'type = "boolean"'
        elif kinds == {"integer"} and (limits := _integer_lines(known)) is not None:
            yield 'type = "integer"'
            yield from limits
        elif kinds <= {"integer", "decimal"} and (digits := _decimal_lines(known)):
            yield 'type = "decimal"'
            yield from digits
        elif kinds == {"string"}:
            yield from self._text(known)
        else:
            yield 'type = "json"'
            if max(len(json.dumps(value, default=str)) for value in known) * 4 > 65_536:
                yield f"max_bytes = {MAX_VALUE_BYTES}"
            if len(kinds) > 1:
                yield _comment(f"The samples have several types: {', '.join(sorted(kinds))}.")

    def _text(self, known: list[str]) -> Iterator[str]:
        if all(_NUMBER.fullmatch(value) for value in known) and any("." in value for value in known):
            digits = _decimal_lines([Decimal(value) for value in known])
            if digits:
                yield from ('type = "decimal"', 'json = "string"', *digits)
                return
        yield 'type = "string"'
        longest = max(map(len, known))
        length = next((length for length in _LENGTHS if length >= min(2 * longest, _LENGTHS[-1])), _LENGTHS[-1])
        if length > self._most:
            length = max(length, 5 * MAX_VARCHAR)
        if length != 255:
            yield f"max_length = {length}   # the longest sample has {longest:,}"
        if all(_INTEGER.fullmatch(value) for value in known):
            yield '# also possible: type = "integer", json = "string"'
        counts = Counter(known)
        if len(counts) <= _MAX_DISTINCT_VALUES and len(known) >= 5 * len(counts) and longest <= 50:
            shown = ", ".join(_toml(value) for value in sorted(counts))
            yield _comment(f"values = [{shown}]   # all texts of {len(known):,} samples")


def _similarity(name: str, path: Path) -> int | None:
    """Return how well the path names the field: smaller is better; None if it does not."""
    parts = [_words(part) for part in path]
    words = [word for part in parts for word in part]
    forms = ["_".join(words)]
    if words[-1:] in (["amount"], ["value"]):
        forms.append("_".join(words[:-1]))
    if len(path) > 1 and len(parts[0]) == 1 and parts[0][0] in _NEUTRAL:
        forms.append("_".join(words[1:]))
    aliases = _ALIASES[name].split()
    for penalty, form in enumerate(forms):
        if form in aliases:
            return aliases.index(form) + penalty
    last = "_".join(parts[-1])
    if len(path) > 1 and "_" in last and last in aliases and not _OTHERS & {*words[: -len(parts[-1])]}:
        return aliases.index(last) + 100
    return None


def _words(part: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(part)]


def _column_name(path: Path, taken: set[str]) -> str:
    text = unicodedata.normalize("NFKD", " ".join(path)).encode("ascii", "ignore").decode()
    name = "_".join(_words(text))[:50] or "field"
    if name[0].isdigit():
        name = f"field_{name}"
    if name in loader.RESERVED:
        name = f"message_{name}"
    unique = next(found for found in (name, *(f"{name}_{number}" for number in range(2, 10_000))) if found not in taken)
    taken.add(unique)
    return unique


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", Decimal: "decimal", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def _as_number(value: Any) -> Decimal | None:
    if type(value) in (int, Decimal) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return Decimal(value)
    return None


def _text_form(value: Any, most: int = _LENGTHS[-1]) -> str:
    return "string" if isinstance(value, str) and 1 <= len(value) <= most else ""


def _order_id_form(value: Any) -> str:
    if type(value) is int:
        return "integer" if -BIGINT_MAX <= value <= BIGINT_MAX else ""
    is_id = isinstance(value, str) and len(value) <= 50 and PRINTABLE.fullmatch(value) and re.search("[0-9]", value)
    return "string" if is_id else ""


def _customer_id_form(value: Any) -> str:
    return "integer" if type(value) is int and abs(value) <= BIGINT_MAX else _text_form(value, 255)


def _amount_form(value: Any) -> str:
    number = _as_number(value)
    is_amount = number is not None and abs(number) <= _HIGHEST_AMOUNT and number == number.quantize(_CENT)
    return "number" if is_amount else ""


def _integer_form(value: Any) -> str:
    is_integer = type(value) is int or (isinstance(value, str) and _INTEGER.fullmatch(value))
    return "integer" if is_integer and abs(int(value)) <= INT_MAX else ""


# Each returns the form of a value that can be the field's, and an empty text for another value.
_FORMS: dict[str, Callable[[Any], str]] = {
    "order_id": _order_id_form,
    "customer_id": _customer_id_form,
    "order_timestamp": lambda value: (_time_lines([value]) or [""])[0],
    "product_name": _text_form,
    "product_category": lambda value: _text_form(value, 100),
    "unit_price": _amount_form,
    "quantity": _integer_form,
    "total_price": _amount_form,
}


def _order_id_lines(_name: str, known: list[Any], _lacking: int) -> Iterator[str]:
    if isinstance(known[0], int):
        yield 'type = "integer"'
        if min(known) < 1:
            yield f"minimum = {min(known)}"
        return
    if not all(matcher(DEFAULT.by_name["order_id"].pattern)(text) for text in known):
        yield f"pattern = {_literal(pattern_of(known))}"
        yield f"examples = [{_literal(known[0])}]   # `orderflow produce` replaces its last digits by a number"


def _customer_id_lines(_name: str, known: list[Any], lacking: int) -> Iterator[str]:
    if isinstance(known[0], int):
        lowest = min(*known, 0 if lacking else 1)
        if lowest < 1:
            yield f"minimum = {lowest}"
        if max(known) > INT_MAX // 10:
            yield f"maximum = {BIGINT_MAX}"
        default = "0"
    else:
        yield 'type = "string"'
        if max(map(len, known)) > 25:
            yield "max_length = 255"
        if all(_INTEGER.fullmatch(text) for text in known):
            yield '# also possible: type = "integer", json = "string"'
        default = '"unknown"'
    if lacking:
        yield f"default = {default}   # missing or null in {lacking:,} samples"


def _product_lines(name: str, known: list[str], lacking: int) -> Iterator[str]:
    longest, usual = max(map(len, known)), DEFAULT.by_name[name].max_length
    if longest > usual:
        yield f"max_length = {next(length for length in _LENGTHS if length >= longest)}"
    if lacking:
        yield f'default = "unknown"   # missing or null in {lacking:,} samples'


def _number_lines(_name: str, known: list[Any], _lacking: int) -> Iterator[str]:
    texts = sum(isinstance(value, str) for value in known)
    if texts:
        yield f'json = "{"string" if texts == len(known) else "any"}"'
    lowest = min(Decimal(value) for value in known)
    if lowest <= 0:
        yield f"minimum = {lowest:f}"


_LINES: dict[str, Callable[[str, list[Any], int], Iterable[str]]] = {
    "order_id": _order_id_lines,
    "customer_id": _customer_id_lines,
    "order_timestamp": lambda _name, known, _lacking: _time_lines(known) or (),
    "product_name": _product_lines,
    "product_category": _product_lines,
    "unit_price": _number_lines,
    "quantity": _number_lines,
    "total_price": _number_lines,
}


def _time_lines(known: Sequence[Any]) -> list[str] | None:
    """Return the keys that describe these times; None if they are no times."""
    if all(type(value) is int for value in known):
        return ['format = "epoch_ms"'] if all(_EARLIEST <= value <= LAST_MILLISECOND for value in known) else None
    if not all(isinstance(value, str) for value in known):
        return None
    for format_, shape, usual in (("utc", _UTC, 0), ("rfc3339", _RFC3339, 3)):
        found = [shape.fullmatch(value) for value in known]
        if all(found):
            digits = max(len((match[1] or "").rstrip("0")) for match in found if match)
            if digits > 6:
                return None
            return [f'format = "{format_}"'] + ([f"digits = {digits}"] if digits > usual else [])
    return None


def _integer_lines(known: Sequence[int]) -> list[str] | None:
    """Return the limits of these integers: none if INT can hold far more; None if BIGINT cannot."""
    lowest, highest = min(known), max(known)
    if lowest < -BIGINT_MAX or highest > BIGINT_MAX:
        return None
    lines = [f"minimum = {-BIGINT_MAX}"] if lowest < -INT_MAX // 10 else []
    return lines + ([f"maximum = {BIGINT_MAX}"] if highest > INT_MAX // 10 else [])


def _decimal_lines(known: Sequence[int | Decimal]) -> list[str] | None:
    """Return precision and scale of these numbers, with room for larger ones; None if no column can hold them."""
    numbers = [Decimal(value) for value in known]
    if any(abs(number.adjusted()) > 28 for number in numbers if number):
        return None
    scale = max(2, *(-int(number.normalize().as_tuple().exponent) for number in numbers))
    whole = max(1, *(number.adjusted() + 1 for number in numbers if number), 1)
    if scale > 18 or whole + scale > 28:
        return None
    precision = max(10, min(whole + 3 + scale, 18), whole + scale)
    lines = [f"precision = {precision}", f"scale = {scale}"]
    if min(numbers) < 0:
        lines.append(f"minimum = -{Decimal(10 ** (precision - scale) - 1):f}")
    return lines


def pattern_of(texts: Sequence[str]) -> str:
    """Return a pattern for ids like these, with room for larger numbers."""
    if all(_UUID.fullmatch(text) for text in texts):
        digit = "[0-9a-f]" if all(text == text.lower() for text in texts) else "[0-9A-Fa-f]"
        return "-".join(f"{digit}{{{count}}}" for count in (8, 4, 4, 4, 12))
    runs = [_RUNS.findall(text) for text in texts]
    shapes = {tuple(_class_of(run) for run in found) for found in runs}
    if len(shapes) > 1:
        return _mixed_pattern(texts)
    columns = [[*column] for column in zip(*runs, strict=True)]
    last = max((index for index, column in enumerate(columns) if _class_of(column[0]) == "[0-9]"), default=-1)
    pattern = "".join(_run_pattern(column, index == last) for index, column in enumerate(columns))
    try:
        check(pattern)
    except ValueError:
        return _ANY_ID
    return pattern


def _run_pattern(column: list[str], grows: bool) -> str:
    kind = _class_of(column[0])
    shortest, longest = min(map(len, column)), max(map(len, column))
    if not grows and len({*column}) == 1 and kind != "[0-9]":
        return "".join(_escaped(character) for character in column[0])
    if len(kind) == 1:
        return _escaped(kind)
    longest += _MARGIN if grows else 0
    if shortest == longest:
        return kind if longest == 1 else f"{kind}{{{longest}}}"
    return f"{kind}{{{shortest},{longest}}}"


def _class_of(run: str) -> str:
    character = run[0]
    for first, last in ("09", "AZ", "az"):
        if first <= character <= last:
            return f"[{first}-{last}]"
    return character


def _mixed_pattern(texts: Sequence[str]) -> str:
    characters = "".join(texts)
    ranges = [found for found in ("0-9", "A-Z", "a-z") if re.search(f"[{found}]", characters)]
    others = {*re.sub("[0-9A-Za-z]", "", characters)}
    if not others <= {*"_-"}:
        return _ANY_ID
    lengths = [len(text) for text in texts]
    kind = f"[{''.join((*ranges, *sorted(others, reverse=True)))}]"
    return f"{kind}{{{min(lengths)},{min(2 * max(lengths), 50)}}}"


def _escaped(character: str) -> str:
    return f"\\{character}" if character in r"\.^$*+?{}[]()|" else character


def _is_writable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _key(path: Path) -> str:
    if all("." not in part for part in path):
        return _toml(".".join(path))
    return f"[{', '.join(_toml(part) for part in path)}]"


def _toml(text: str) -> str:
    """Return a TOML string that is harmless in a terminal."""
    return "".join(
        character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in json.dumps(text, ensure_ascii=False)
    )


def _literal(text: str) -> str:
    return _toml(text) if "'" in text else f"'{text}'"


def _shown(value: Any) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _comment(text: str) -> str:
    return "# " + "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
