"""Random legal contracts, as TOML that the loader reads, and messages that keep them or nearly do.

All choices come from a `Random`, so a seed repeats them without hypothesis.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st

from orderflow.contract import file
from orderflow.contract.definition import BIGINT_MAX, EIGHT, INT_MAX, LAST_MILLISECOND, Contract, Field, Kind
from tests.corpus import JSON, NOT_JSON, TEXTS, quoted
from tests.mutations import mutated, space, spelled_text

Tables = dict[str, dict[str, Any]]

_ALPHABETS = ("ab \\\"'/\t", "éß１\x7f\x1f\n", "🧘\U0010ffff\ufffe\u2028", "0123456789")
_LEAVES = ("orderId", "Total", "a b", "größe", "x.y", "🧘", "_", "x" * 70)
_ESCAPED_LEAVES = ('a"b', "c\\d", "e\nf", "\x00")  # the fast path reads no such keys
_OBJECTS = ((), (), (), ("customer",), ("meta",), ("meta", "inner"), ("län.der ",))
_PATTERNS: dict[str, Callable[[Random], str]] = {
    "[A-Z]{3}": lambda choice: "".join(choice.choices("AXZ", k=3)),
    "(?:EUR|USD|€)": lambda choice: choice.choice(["EUR", "USD", "€"]),
    "[^ ]+": lambda choice: choice.choice(["x", "\n", "é🧘", "\\"]),
    ".{1,4}": lambda choice: choice.choice(["a", "\n\r", "🧘é１", "abcd"]),
    "a*(?:b|é)+x?": lambda choice: "a" * choice.randrange(3) + choice.choice(["b", "éb", "bx"]),
    r"\.[\\\]]\+": lambda choice: choice.choice([".\\+", ".]+"]),
    "a|bc": lambda choice: choice.choice(["a", "bc"]),
}
_IDS: dict[str, Callable[[Random], str]] = {
    "ORDER-[0-9]{6,44}": lambda choice: f"ORDER-{choice.randrange(10**7):06}",
    "[A-Z]{2}[0-9]+": lambda choice: f"AZ{choice.randrange(100)}",
    "(?:a|bc)+[^x]": lambda choice: "a" * choice.randrange(3) + "bc!",
    "": lambda choice: "".join(choice.choices("!~A\"\\'", k=choice.randint(1, 6))),
}


def contracts() -> st.SearchStrategy[Contract]:
    """Return a strategy for legal contracts."""
    return _randoms.map(contract)


def messages(of: Contract, defects: int = 3) -> st.SearchStrategy[bytes]:
    """Return a strategy for messages that keep the contract or nearly do."""
    return _randoms.map(lambda choice: message(of, choice, defects))


_randoms = st.integers(0, 2**64 - 1).map(Random)


def contract(choice: Random) -> Contract:
    """Return a legal contract. Values need fields, so allowed values and defaults are added to the file in steps."""
    tables = _tables(choice)
    for add in (_add_values, _add_defaults):
        for field in _read(tables).fields:
            add(choice, field, tables[f"fields.{field.name}" if field.is_own else field.name])
    return _read(tables)


def _read(tables: Tables) -> Contract:
    return file.read(as_toml(tables), "contract.toml")


def as_toml(tables: Tables) -> str:
    """Return a TOML document. The table without a name has the keys of the document."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]"] if name else []
        lines += [f"{key} = {_as_toml(value)}" for key, value in table.items()]
    return "\n".join(lines)


def _as_toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    return (
        str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    )


def _tables(choice: Random) -> Tables:
    keys: set[tuple[str, ...]] = set()
    tables: Tables = {"": {"unknown_fields": choice.choice(["ignore", "keep", "reject"])}}
    for name in EIGHT:
        tables[name] = {"key": _key(choice, keys)} if choice.random() < 0.3 else {}
    if choice.random() < 0.7:
        _adapt(choice, tables)
    is_wide = choice.random() < 0.02
    for number in range(70 if is_wide else choice.choice([0, 0, 1, 2, 4, 8])):
        table: dict[str, Any] = {"type": str(Kind.BOOLEAN if is_wide else choice.choice([*Kind]))}
        if choice.random() < 0.7:
            table["key"] = _key(choice, keys)
        if choice.random() < 0.5:
            table["required"] = choice.random() < 0.2
        table |= _limits(choice, Kind(table["type"]))
        tables[f"fields.own_{number}"] = table
    return tables


def _key(choice: Random, used: set[tuple[str, ...]]) -> object:
    leaves = _ESCAPED_LEAVES if choice.random() < 0.01 else _LEAVES
    path = (*choice.choice(_OBJECTS), choice.choice(leaves))
    while path in used and choice.random() < 0.97:  # two fields may read one key
        path = (*path[:-1], path[-1] + choice.choice("0123456789"))
    used.add(path)
    has_dot = any("." in part for part in path)
    return [*path] if has_dot or choice.random() < 0.3 else ".".join(path)


def _adapt(choice: Random, tables: Tables) -> None:
    """Change some of the eight fields."""
    if choice.random() < 0.4:
        tables["customer_id"] |= (
            {"type": "string"} | _limits(choice, Kind.STRING) | {"min_length": 0, "max_length": 255}
        )
    elif choice.random() < 0.5:
        tables["customer_id"] |= _limits(choice, Kind.INTEGER)
    if choice.random() < 0.3:
        tables["order_id"] |= {"type": "integer"} | _limits(choice, Kind.INTEGER)
    elif choice.random() < 0.5:
        tables["order_id"] |= {"pattern": choice.choice([*_IDS])} | choice.choice([{}, {"max_length": 13}])
        tables["order_id"] |= choice.choice([{}, {}, {"min_length": 4}])
    for name in ("product_name", "product_category"):
        if choice.random() < 0.3:
            tables[name] |= choice.choice(
                [{"max_length": 9}, {"min_length": 0}, {"pattern": choice.choice([*_PATTERNS])}]
            )
    amounts: list[dict[str, Any]] = [{"minimum": 0}, {"minimum": "-99999999.99"}, {"maximum": Decimal("200.50")}, {}]
    for name in ("unit_price", "total_price"):
        tables[name] |= choice.choice(amounts) | _json(choice)
    tables["quantity"] |= choice.choice([{"minimum": 0}, {"minimum": -3}, {"maximum": 3}, {}]) | _json(choice)
    tables["total_price"]["total"] = choice.choice(["checked", "checked", "computed", "as_sent"])
    tables["order_timestamp"] |= _limits(choice, Kind.TIMESTAMP)


def _json(choice: Random) -> dict[str, Any]:
    return {"json": choice.choice(["number", "string", "any"])} if choice.random() < 0.5 else {}


def _limits(choice: Random, kind: Kind) -> dict[str, Any]:
    if kind is Kind.STRING:
        if choice.random() < 0.3:
            return {"pattern": choice.choice([*_PATTERNS])}
        longest = choice.choice([1, 3, 20, 255, 1000, 2000])
        return {"max_length": longest, "min_length": choice.choice([0, 1, longest])}
    if kind is Kind.INTEGER:
        lowest = choice.choice([0, 1, -5, INT_MAX, -INT_MAX - 1, -BIGINT_MAX - 1, 10**18])
        above = choice.choice([0, 1, 100, INT_MAX, 2 * BIGINT_MAX])
        return {"minimum": lowest, "maximum": min(lowest + above, BIGINT_MAX)} | _json(choice)
    if kind is Kind.DECIMAL:
        precision = choice.choice([1, 2, 10, 17, 18, 19, 28])
        scale = choice.choice([0, 1, precision // 2, precision])
        limits: dict[str, Any] = {"precision": precision, "scale": min(scale, 18)}
        if choice.random() < 0.5:
            limits["minimum"] = f"{Decimal(1 - 10**precision).scaleb(-limits['scale']):f}"
        return limits | _json(choice)
    if kind is Kind.TIMESTAMP:
        limits = {"format": choice.choice(["utc", "rfc3339", "epoch_ms"])}
        if choice.random() < 0.7:
            limits["digits"] = choice.randint(0, 6)
        return limits | (_json(choice) if limits["format"] == "epoch_ms" else {})
    return {"max_bytes": choice.choice([5, 20, 1000])} if kind is Kind.JSON else {}


def _add_values(choice: Random, field: Field, table: dict[str, Any]) -> None:
    can_be_listed = field.is_own or field.name in ("customer_id", "order_id", "product_name", "product_category")
    if field.kind is Kind.STRING and can_be_listed and choice.random() < 0.15:
        table["values"] = [value_of(choice, field) for _ in range(3)]


def _add_defaults(choice: Random, field: Field, table: dict[str, Any]) -> None:
    value = value_of(choice, field)
    value = choice.choice([value, str(value)]) if isinstance(value, Decimal) else value
    if field.kind is Kind.JSON:
        value = choice.choice(["7", '["\u00e9\\"\\n" , {"a": 1.50}]'])
        if len(value.encode()) > field.max_length:
            return
    can_be_optional = field.name in ("customer_id", "product_name", "product_category")
    if choice.random() < (0.1 if can_be_optional else 0.4 if field.is_own and not field.required else 0):
        table["default"] = value
    elif field.name in ("product_name", "product_category", "unit_price", "quantity") and choice.random() < 0.1:
        table.pop("key", None)
        table["fixed"] = value


def value_of(choice: Random, field: Field) -> Any:
    """Return a valid value, as a message has it; decimals as Decimal, and of JSON a text of JSON."""
    if field.values:
        return choice.choice(field.values)
    if field.name == "order_id" and field.kind is Kind.STRING:
        long_enough = (text for text in iter(lambda: _IDS[field.pattern](choice), "") if field.min_length <= len(text))
        return next(text for text in long_enough if len(text) <= field.max_length)
    if field.kind is Kind.STRING:
        return _PATTERNS[field.pattern](choice) if field.pattern else _text(choice, field)
    if field.kind is Kind.INTEGER:
        return _between(choice, int(field.minimum), int(field.maximum))
    if field.kind is Kind.DECIMAL:
        return Decimal(_between(choice, _count(field, field.minimum), _count(field, field.maximum))).scaleb(
            -field.scale
        )
    if field.kind is Kind.BOOLEAN:
        return choice.random() < 0.5
    return _time(choice, field) if field.kind is Kind.TIMESTAMP else _random_json(choice, 0)


def _count(field: Field, bound: int | str) -> int:
    return int(Decimal(bound).scaleb(field.scale))


def _between(choice: Random, lowest: int, highest: int) -> int:
    near = min(highest - lowest, 5)
    return choice.choice(
        [lowest + choice.randint(0, near), min(lowest + choice.randint(0, 3000), highest)] * 2
        + [highest - choice.randint(0, near), choice.randint(lowest, highest)]
    )


def _text(choice: Random, field: Field) -> str:
    if choice.random() < 0.2:
        found = choice.choice([*TEXTS.values()])
        if field.min_length <= len(found) <= field.max_length:
            return found
    short = min(field.max_length, field.min_length + 8)
    length = choice.choice([field.min_length, choice.randint(field.min_length, short), short])
    if choice.random() < 0.1:
        length = field.max_length
    return "".join(choice.choices(choice.choice(_ALPHABETS), k=length))


def _time(choice: Random, field: Field) -> str | int:
    if field.format == "epoch_ms":
        step = 10 ** (3 - min(field.scale, 3))
        return choice.choice([choice.randrange(10**13), 0, LAST_MILLISECOND, 951_782_400_000]) // step * step
    moment = datetime(1, 1, 2) + timedelta(seconds=choice.randrange(315_537_700_000))  # noqa: DTZ001 - naive, UTC
    text = choice.choice([moment.isoformat(), "2024-02-29T23:59:59", "2025-01-15T14:30:45"])
    digits = choice.randint(0, field.scale)
    if digits:
        text += "." + "".join(choice.choices("0123456789", k=digits)) + "0" * choice.choice([0, 0, 9 - digits])
    if field.format == "utc":
        return text
    text = text.replace("T", choice.choice("Tt "))
    return text + choice.choice(["Z", "z", "+00:00", "-00:00", "+23:59", "-12:30", "+05:45"])


def _random_json(choice: Random, depth: int) -> str:
    found = choice.random()
    if depth == 20 or found < 0.5:
        return choice.choice([choice.choice(JSON), "1", "-0.50", "1E+2", "true", "null", '"a\\/b\\u00e9\\u0022"'])
    before, after = space(choice), space(choice)
    if found < 0.55:
        return "[" * choice.choice([3, 13, 14, 15, 16, 63]) + "7" + "]" * choice.choice([3, 13, 14, 15, 16, 63])
    items = [_random_json(choice, depth + 1) for _ in range(choice.randrange(4))]
    if found < 0.75:
        return f"[{before}{f'{before},{after}'.join(items)}{after}]"
    named = [f"{_key_text(choice, choice.choice(_LEAVES))}{before}:{after}{item}" for item in items]
    return f"{{{after}{f'{after},{before}'.join(named)}{before}}}"


def message(of: Contract, choice: Random, defects: int = 3) -> bytes:
    """Return a message that keeps the contract or nearly does, in any notation, with up to this many defects."""
    value = _message(of, choice)
    if choice.random() < 0.4 and (defects := choice.randint(0, defects)):
        other = _message(of, choice)
        for _ in range(defects):
            value = mutated(value, other, choice)
    return value


def _message(of: Contract, choice: Random) -> bytes:
    values = {field.name: value_of(choice, field) if field.path else field.default for field in of.fields}
    total = of.by_name["total_price"]
    if of.total != "as_sent":
        values |= _with_total(choice, of, values)
    wrong = choice.choice(of.fields) if choice.random() < 0.3 else None  # one, so that it decides
    tree: dict[str, Any] = {}
    for field in of.fields:
        text = _spelled(choice, field, values[field.name])
        if field is wrong:
            text = _wrong(choice, field)
        is_optional = not field.required and (field is not total or of.total == "computed")
        if field.path and not (is_optional and choice.random() < 0.3):
            _put(tree, field.path, "null" if is_optional and choice.random() < 0.2 else text)
    found = _spelled_object(choice, tree, unknown=choice.choice([0, 0, 0.3]), careless=choice.random() < 0.15)
    return f"{space(choice)}{found}{space(choice)}".encode("utf-8", "surrogatepass")


def _with_total(choice: Random, of: Contract, values: dict[str, Any]) -> dict[str, Any]:
    """Return a price, a quantity and their total, which usually keeps its limits."""
    names, total = ("unit_price", "quantity"), of.by_name["total_price"]
    for _ in range(20):
        price, quantity = Decimal(values["unit_price"]), int(values["quantity"])
        if total.lowest <= price * quantity <= total.highest:
            break
        values |= {name: value_of(choice, of.by_name[name]) for name in names if of.by_name[name].path}
    cents = choice.choice([*[0] * 18, 1, -1])
    return values | {"total_price": price * quantity + Decimal(cents) / 100}


def _put(tree: dict[str, Any], path: tuple[str, ...], text: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = text


def _spelled(choice: Random, field: Field, value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if field.kind is Kind.JSON:
        return str(value)
    if isinstance(value, str) and field.kind is not Kind.DECIMAL:
        return spelled_text(value, choice)
    text = _spelled_decimal(choice, Decimal(value)) if field.kind is Kind.DECIMAL else str(value)
    is_text = field.json == "string" or (field.json == "any" and choice.random() < 0.5)
    return _key_text(choice, text) if is_text else text


def _key_text(choice: Random, text: str) -> str:
    """Return a text of JSON, rarely with escapes: the fast path accepts none in keys."""
    return spelled_text(text, choice) if choice.random() < 0.03 else quoted(text)


def _spelled_decimal(choice: Random, value: Decimal) -> str:
    plain = f"{value:f}"
    if choice.random() < 0.85:
        return plain
    sign, digits, exponent = value.as_tuple()
    count = "-" * sign + "".join(map(str, digits))
    zeros = choice.choice([0, 1, 3, 20])
    point = "" if "." in plain else "."
    forms = [f"{plain}{point}{'0' * (zeros or 1)}", f"{plain}e0", f"{count}E{exponent}"]
    return choice.choice(
        [*forms, f"{count}{'0' * zeros}e{int(exponent) - zeros:+}", plain.rstrip("0").rstrip(".") or "0"]
    )


def _wrong(choice: Random, field: Field) -> str:
    """Return a value that is not valid, or not always."""
    wrong: list[str] = []
    if field.kind in (Kind.INTEGER, Kind.DECIMAL):
        bounds = (field.lowest, field.highest)
        wrong = [f"{bounds[0] - field.unit:f}", f"{bounds[1] + field.unit:f}", f"{bounds[0]:f}0" * 3]
        wrong += [f"{bound:f}.5" if field.scale == 0 else f"{bound:f}5" for bound in bounds]
        wrong += [f"-{'9' * 25}", "1" * 25, "-0", "-0.0"]
        wrong += [f'"{text}"' for text in wrong]
    elif field.kind is Kind.STRING:
        texts = ("x" * max(field.min_length - 1, 0), "é" * (field.max_length + 1))
        wrong = [
            *(spelled_text(text, choice) for text in texts),
            '"\\ud800"',
            '"\\ud800\\ue000"',
            '"\\ud800\\udc00"',
            '"\\u0000"',
            '" "',
        ]
    elif field.kind is Kind.TIMESTAMP:
        zone = choice.choice(["Z", "Z", "Z", "+24:00", "+1:00", "-00:60"]) if field.format == "rfc3339" else ""
        year, month = choice.choice([1900, 2000, 2024, 2025]), choice.randint(0, 13)
        days = [f'"{year}-{month:02}-{day:02}T00:00:00{zone}"' for day in (0, 28, 29, 30, 31, 32)]
        seconds = [f'"2025-01-15T{second}{zone}"' for second in ("24:00:00", "23:60:00", "14:30:60", "14:30:45.")]
        fractions = [f'"2025-01-15T14:30:45.{"0" * zeros}7{zone}"' for zeros in range(10)]
        limits = ['"0001-01-01T00:00:00+00:01"', '"9999-12-31T23:59:59.9-00:01"', '"0000-01-01T00:00:00Z"']
        limits += [str(LAST_MILLISECOND + 1), "-1", f'"{10**12}"']
        wrong = choice.choice([days, seconds, fractions, limits])
    return choice.choice(
        wrong if wrong and choice.random() < 0.7 else [choice.choice(JSON), choice.choice(NOT_JSON), "{}"]
    )


def _spelled_object(choice: Random, tree: dict[str, Any], unknown: float, careless: bool) -> str:
    before, after = space(choice), space(choice)
    items = []
    for key, value in tree.items():
        if isinstance(value, str):
            items.append((key, value))
        elif careless and choice.random() < 0.1:
            items.append((key, choice.choice(["null", "{}", "5"])))
        else:
            items.append((key, _spelled_object(choice, value, unknown, careless)))
    while choice.random() < unknown:
        items.append(
            (choice.choice(["coupon", "Quantity", "", "customer", *_LEAVES, *_ESCAPED_LEAVES]), _random_json(choice, 1))
        )
    if careless and items and choice.random() < 0.1:
        items.append(choice.choice(items))
    if choice.random() < 0.5:
        choice.shuffle(items)
    fields = [f"{_key_text(choice, key)}{before}:{after}{value}" for key, value in items]
    return f"{{{before}{f'{before},{after}'.join(fields)}{after}}}"
