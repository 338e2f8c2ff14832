"""Random valid contracts, as text of a contract file, and messages that are valid or almost valid.

A `Random` makes all choices, so a seed repeats them without hypothesis.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st

from orderflow.contract import contract_file
from orderflow.contract.definition import BIGINT_MAX, INT_MAX, LAST_MILLISECOND, STANDARD_FIELDS, Contract, Field, Kind
from tests.support.corpus import JSON, NOT_JSON, TEXTS, quoted
from tests.support.message_defects import mutated, space, spelled_text

Tables = dict[str, dict[str, Any]]

_ALPHABETS = ("ab \\\"'/\t", "éß１\x7f\x1f\n", "🧘\U0010ffff\ufffe\u2028", "0123456789")
_LEAVES = ("orderId", "Total", "a b", "größe", "x.y", "🧘", "_", "x" * 70)
_ESCAPED_LEAVES = ('a"b', "c\\d", "e\nf", "\x00")  # the fast path reads no such keys
_OBJECTS = ((), (), (), ("customer",), ("meta",), ("meta", "inner"), ("län.der ",))
_PATTERNS: dict[str, Callable[[Random], str]] = {
    "[A-Z]{3}": lambda rng: "".join(rng.choices("AXZ", k=3)),
    "(?:EUR|USD|€)": lambda rng: rng.choice(["EUR", "USD", "€"]),
    "[^ ]+": lambda rng: rng.choice(["x", "\n", "é🧘", "\\"]),
    ".{1,4}": lambda rng: rng.choice(["a", "\n\r", "🧘é１", "abcd"]),
    "a*(?:b|é)+x?": lambda rng: "a" * rng.randrange(3) + rng.choice(["b", "éb", "bx"]),
    r"\.[\\\]]\+": lambda rng: rng.choice([".\\+", ".]+"]),
    "a|bc": lambda rng: rng.choice(["a", "bc"]),
}
_IDS: dict[str, Callable[[Random], str]] = {
    "ORDER-[0-9]{6,44}": lambda rng: f"ORDER-{rng.randrange(10**7):06}",
    "[A-Z]{2}[0-9]+": lambda rng: f"AZ{rng.randrange(100)}",
    "(?:a|bc)+[^x]": lambda rng: "a" * rng.randrange(3) + "bc!",
    "": lambda rng: "".join(rng.choices("!~A\"\\'", k=rng.randint(1, 6))),
}


def contracts() -> st.SearchStrategy[Contract]:
    """Return a strategy for valid contracts."""
    return _randoms.map(random_contract)


def messages(contract: Contract, defects: int = 3) -> st.SearchStrategy[bytes]:
    """Return a strategy for messages that are valid by the contract or almost valid."""
    return _randoms.map(lambda rng: random_message(contract, rng, defects))


_randoms = st.integers(0, 2**64 - 1).map(Random)


def random_contract(rng: Random) -> Contract:
    """Return a valid contract. Values need fields, so allowed values and defaults are added to the file in steps."""
    tables = _tables(rng)
    for add in (_add_values, _add_defaults):
        for field in _read(tables).fields:
            add(rng, field, tables[f"fields.{field.name}" if field.is_custom else field.name])
    return _read(tables)


def _read(tables: Tables) -> Contract:
    return contract_file.read(as_toml(tables), "contract.toml")


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


def _tables(rng: Random) -> Tables:
    keys: set[tuple[str, ...]] = set()
    tables: Tables = {"": {"unknown_fields": rng.choice(["ignore", "keep", "reject"])}}
    for name in STANDARD_FIELDS:
        tables[name] = {"key": _key(rng, keys)} if rng.random() < 0.3 else {}
    if rng.random() < 0.7:
        _adapt(rng, tables)
    is_wide = rng.random() < 0.02
    for number in range(70 if is_wide else rng.choice([0, 0, 1, 2, 4, 8])):
        table: dict[str, Any] = {"type": str(Kind.BOOLEAN if is_wide else rng.choice([*Kind]))}
        if rng.random() < 0.7:
            table["key"] = _key(rng, keys)
        if rng.random() < 0.5:
            table["required"] = rng.random() < 0.2
        table |= _limits(rng, Kind(table["type"]))
        tables[f"fields.custom_{number}"] = table
    return tables


def _key(rng: Random, used: set[tuple[str, ...]]) -> object:
    leaves = _ESCAPED_LEAVES if rng.random() < 0.01 else _LEAVES
    path = (*rng.choice(_OBJECTS), rng.choice(leaves))
    while path in used and rng.random() < 0.97:  # two fields may read one key
        path = (*path[:-1], path[-1] + rng.choice("0123456789"))
    used.add(path)
    has_dot = any("." in part for part in path)
    return [*path] if has_dot or rng.random() < 0.3 else ".".join(path)


def _adapt(rng: Random, tables: Tables) -> None:
    """Change some of the standard fields."""
    if rng.random() < 0.4:
        tables["customer_id"] |= {"type": "string"} | _limits(rng, Kind.STRING) | {"min_length": 0, "max_length": 255}
    elif rng.random() < 0.5:
        tables["customer_id"] |= _limits(rng, Kind.INTEGER)
    if rng.random() < 0.3:
        tables["order_id"] |= {"type": "integer"} | _limits(rng, Kind.INTEGER)
    elif rng.random() < 0.5:
        tables["order_id"] |= {"pattern": rng.choice([*_IDS])} | rng.choice([{}, {"max_length": 13}])
        tables["order_id"] |= rng.choice([{}, {}, {"min_length": 4}])
    for name in ("product_name", "product_category"):
        if rng.random() < 0.3:
            tables[name] |= rng.choice([{"max_length": 9}, {"min_length": 0}, {"pattern": rng.choice([*_PATTERNS])}])
    amounts: list[dict[str, Any]] = [{"minimum": 0}, {"minimum": "-99999999.99"}, {"maximum": Decimal("200.50")}, {}]
    for name in ("unit_price", "total_price"):
        tables[name] |= rng.choice(amounts) | _json(rng)
    tables["quantity"] |= rng.choice([{"minimum": 0}, {"minimum": -3}, {"maximum": 3}, {}]) | _json(rng)
    tables["total_price"]["total"] = rng.choice(["checked", "checked", "computed", "as_sent"])
    tables["order_timestamp"] |= _limits(rng, Kind.TIMESTAMP)


def _json(rng: Random) -> dict[str, Any]:
    return {"json": rng.choice(["number", "string", "any"])} if rng.random() < 0.5 else {}


def _limits(rng: Random, kind: Kind) -> dict[str, Any]:
    if kind is Kind.STRING:
        if rng.random() < 0.3:
            return {"pattern": rng.choice([*_PATTERNS])}
        longest = rng.choice([1, 3, 20, 255, 1000, 2000])
        return {"max_length": longest, "min_length": rng.choice([0, 1, longest])}
    if kind is Kind.INTEGER:
        lowest = rng.choice([0, 1, -5, INT_MAX, -INT_MAX - 1, -BIGINT_MAX - 1, 10**18])
        above = rng.choice([0, 1, 100, INT_MAX, 2 * BIGINT_MAX])
        return {"minimum": lowest, "maximum": min(lowest + above, BIGINT_MAX)} | _json(rng)
    if kind is Kind.DECIMAL:
        precision = rng.choice([1, 2, 10, 17, 18, 19, 28])
        scale = rng.choice([0, 1, precision // 2, precision])
        limits: dict[str, Any] = {"precision": precision, "scale": min(scale, 18)}
        if rng.random() < 0.5:
            limits["minimum"] = f"{Decimal(1 - 10**precision).scaleb(-limits['scale']):f}"
        return limits | _json(rng)
    if kind is Kind.TIMESTAMP:
        limits = {"format": rng.choice(["utc", "rfc3339", "epoch_ms"])}
        if rng.random() < 0.7:
            limits["digits"] = rng.randint(0, 6)
        return limits | (_json(rng) if limits["format"] == "epoch_ms" else {})
    return {"max_bytes": rng.choice([5, 20, 1000])} if kind is Kind.JSON else {}


def _add_values(rng: Random, field: Field, table: dict[str, Any]) -> None:
    can_be_listed = field.is_custom or field.name in ("customer_id", "order_id", "product_name", "product_category")
    if field.kind is Kind.STRING and can_be_listed and rng.random() < 0.15:
        table["values"] = [value_of(rng, field) for _ in range(3)]


def _add_defaults(rng: Random, field: Field, table: dict[str, Any]) -> None:
    value = value_of(rng, field)
    value = rng.choice([value, str(value)]) if isinstance(value, Decimal) else value
    if field.kind is Kind.JSON:
        value = rng.choice(["7", '["\u00e9\\"\\n" , {"a": 1.50}]'])
        if len(value.encode()) > field.max_length:
            return
    can_be_optional = field.name in ("customer_id", "product_name", "product_category")
    if rng.random() < (0.1 if can_be_optional else 0.4 if field.is_custom and not field.required else 0):
        table["default"] = value
    elif field.name in ("product_name", "product_category", "unit_price", "quantity") and rng.random() < 0.1:
        table.pop("key", None)
        table["fixed"] = value


def value_of(rng: Random, field: Field) -> Any:
    """Return a valid value as it is in a message: decimals as Decimal, JSON as a text."""
    if field.values:
        return rng.choice(field.values)
    if field.name == "order_id" and field.kind is Kind.STRING:
        long_enough = (text for text in iter(lambda: _IDS[field.pattern](rng), "") if field.min_length <= len(text))
        return next(text for text in long_enough if len(text) <= field.max_length)
    if field.kind is Kind.STRING:
        return _PATTERNS[field.pattern](rng) if field.pattern else _text(rng, field)
    if field.kind is Kind.INTEGER:
        return _between(rng, int(field.minimum), int(field.maximum))
    if field.kind is Kind.DECIMAL:
        return Decimal(_between(rng, _count(field, field.minimum), _count(field, field.maximum))).scaleb(-field.scale)
    if field.kind is Kind.BOOLEAN:
        return rng.random() < 0.5
    return _time(rng, field) if field.kind is Kind.TIMESTAMP else _random_json(rng, 0)


def _count(field: Field, bound: int | str) -> int:
    return int(Decimal(bound).scaleb(field.scale))


def _between(rng: Random, lowest: int, highest: int) -> int:
    near = min(highest - lowest, 5)
    return rng.choice(
        [lowest + rng.randint(0, near), min(lowest + rng.randint(0, 3000), highest)] * 2
        + [highest - rng.randint(0, near), rng.randint(lowest, highest)]
    )


def _text(rng: Random, field: Field) -> str:
    if rng.random() < 0.2:
        text = rng.choice([*TEXTS.values()])
        if field.min_length <= len(text) <= field.max_length:
            return text
    short = min(field.max_length, field.min_length + 8)
    length = rng.choice([field.min_length, rng.randint(field.min_length, short), short])
    if rng.random() < 0.1:
        length = field.max_length
    return "".join(rng.choices(rng.choice(_ALPHABETS), k=length))


def _time(rng: Random, field: Field) -> str | int:
    if field.format == "epoch_ms":
        step: int = 10 ** (3 - min(field.scale, 3))
        return rng.choice([rng.randrange(10**13), 0, LAST_MILLISECOND, 951_782_400_000]) // step * step
    moment = datetime(1, 1, 2) + timedelta(seconds=rng.randrange(315_537_700_000))  # noqa: DTZ001 - naive, UTC
    text = rng.choice([moment.isoformat(), "2024-02-29T23:59:59", "2025-01-15T14:30:45"])
    digits = rng.randint(0, field.scale)
    if digits:
        text += "." + "".join(rng.choices("0123456789", k=digits)) + "0" * rng.choice([0, 0, 9 - digits])
    if field.format == "utc":
        return text
    text = text.replace("T", rng.choice("Tt "))
    return text + rng.choice(["Z", "z", "+00:00", "-00:00", "+23:59", "-12:30", "+05:45"])


def _random_json(rng: Random, depth: int) -> str:
    share = rng.random()
    if depth == 20 or share < 0.5:
        return rng.choice([rng.choice(JSON), "1", "-0.50", "1E+2", "true", "null", '"a\\/b\\u00e9\\u0022"'])
    before, after = space(rng), space(rng)
    if share < 0.55:
        return "[" * rng.choice([3, 13, 14, 15, 16, 63]) + "7" + "]" * rng.choice([3, 13, 14, 15, 16, 63])
    items = [_random_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    if share < 0.75:
        return f"[{before}{f'{before},{after}'.join(items)}{after}]"
    named = [f"{_key_text(rng, rng.choice(_LEAVES))}{before}:{after}{item}" for item in items]
    return f"{{{after}{f'{after},{before}'.join(named)}{before}}}"


def random_message(contract: Contract, rng: Random, defects: int = 3) -> bytes:
    """Return a message that is valid or almost valid, in any notation, with up to this number of defects."""
    value = _message(contract, rng)
    if rng.random() < 0.4 and (defects := rng.randint(0, defects)):
        other = _message(contract, rng)
        for _ in range(defects):
            value = mutated(value, other, rng)
    return value


def _message(contract: Contract, rng: Random) -> bytes:
    values = {field.name: value_of(rng, field) if field.path else field.default for field in contract.fields}
    total = contract.by_name["total_price"]
    if contract.total != "as_sent":
        values |= _with_total(rng, contract, values)
    wrong_field = rng.choice(contract.fields) if rng.random() < 0.3 else None  # only one, so that it decides the result
    tree: dict[str, Any] = {}
    for field in contract.fields:
        text = _spelled(rng, field, values[field.name])
        if field is wrong_field:
            text = _wrong_value(rng, field)
        is_optional = not field.required and (field is not total or contract.total == "computed")
        if field.path and not (is_optional and rng.random() < 0.3):
            _insert(tree, field.path, "null" if is_optional and rng.random() < 0.2 else text)
    document = _spelled_object(rng, tree, unknown=rng.choice([0, 0, 0.3]), has_defects=rng.random() < 0.15)
    return f"{space(rng)}{document}{space(rng)}".encode("utf-8", "surrogatepass")


def _with_total(rng: Random, contract: Contract, values: dict[str, Any]) -> dict[str, Any]:
    """Return a price, a quantity and their total, which is usually within its limits."""
    names, total = ("unit_price", "quantity"), contract.by_name["total_price"]
    for _ in range(20):
        price, quantity = Decimal(values["unit_price"]), int(values["quantity"])
        if total.lowest <= price * quantity <= total.highest:
            break
        values |= {name: value_of(rng, contract.by_name[name]) for name in names if contract.by_name[name].path}
    cents = rng.choice([*[0] * 18, 1, -1])
    return values | {"total_price": price * quantity + Decimal(cents) / 100}


def _insert(tree: dict[str, Any], path: tuple[str, ...], text: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = text


def _spelled(rng: Random, field: Field, value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if field.kind is Kind.JSON:
        return str(value)
    if isinstance(value, str) and field.kind is not Kind.DECIMAL:
        return spelled_text(value, rng)
    text = _spelled_decimal(rng, Decimal(value)) if field.kind is Kind.DECIMAL else str(value)
    is_text = field.json == "string" or (field.json == "any" and rng.random() < 0.5)
    return _key_text(rng, text) if is_text else text


def _key_text(rng: Random, text: str) -> str:
    """Return a text of JSON, rarely with escapes: the fast path accepts none in keys."""
    return spelled_text(text, rng) if rng.random() < 0.03 else quoted(text)


def _spelled_decimal(rng: Random, value: Decimal) -> str:
    plain = f"{value:f}"
    if rng.random() < 0.85:
        return plain
    sign, digits, exponent = value.as_tuple()
    count = "-" * sign + "".join(map(str, digits))
    zeros = rng.choice([0, 1, 3, 20])
    point = "" if "." in plain else "."
    forms = [f"{plain}{point}{'0' * (zeros or 1)}", f"{plain}e0", f"{count}E{exponent}"]
    return rng.choice([*forms, f"{count}{'0' * zeros}e{int(exponent) - zeros:+}", plain.rstrip("0").rstrip(".") or "0"])


def _wrong_value(rng: Random, field: Field) -> str:
    """Return a value that is usually invalid."""
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
            *(spelled_text(text, rng) for text in texts),
            '"\\ud800"',
            '"\\ud800\\ue000"',
            '"\\ud800\\udc00"',
            '"\\u0000"',
            '" "',
        ]
    elif field.kind is Kind.TIMESTAMP:
        zone = rng.choice(["Z", "Z", "Z", "+24:00", "+1:00", "-00:60"]) if field.format == "rfc3339" else ""
        year, month = rng.choice([1900, 2000, 2024, 2025]), rng.randint(0, 13)
        days = [f'"{year}-{month:02}-{day:02}T00:00:00{zone}"' for day in (0, 28, 29, 30, 31, 32)]
        seconds = [f'"2025-01-15T{second}{zone}"' for second in ("24:00:00", "23:60:00", "14:30:60", "14:30:45.")]
        fractions = [f'"2025-01-15T14:30:45.{"0" * zeros}7{zone}"' for zeros in range(10)]
        limits = ['"0001-01-01T00:00:00+00:01"', '"9999-12-31T23:59:59.9-00:01"', '"0000-01-01T00:00:00Z"']
        limits += [str(LAST_MILLISECOND + 1), "-1", f'"{10**12}"']
        wrong = rng.choice([days, seconds, fractions, limits])
    return rng.choice(wrong if wrong and rng.random() < 0.7 else [rng.choice(JSON), rng.choice(NOT_JSON), "{}"])


def _spelled_object(rng: Random, tree: dict[str, Any], unknown: float, has_defects: bool) -> str:
    before, after = space(rng), space(rng)
    items = []
    for key, value in tree.items():
        if isinstance(value, str):
            items.append((key, value))
        elif has_defects and rng.random() < 0.1:
            items.append((key, rng.choice(["null", "{}", "5"])))
        else:
            items.append((key, _spelled_object(rng, value, unknown, has_defects)))
    while rng.random() < unknown:
        items.append(
            (rng.choice(["coupon", "Quantity", "", "customer", *_LEAVES, *_ESCAPED_LEAVES]), _random_json(rng, 1))
        )
    if has_defects and items and rng.random() < 0.1:
        items.append(rng.choice(items))
    if rng.random() < 0.5:
        rng.shuffle(items)
    fields = [f"{_key_text(rng, key)}{before}:{after}{value}" for key, value in items]
    return f"{{{before}{f'{before},{after}'.join(fields)}{after}}}"
