"""The bad-input corpus as data: raw message values and the outcome that the contract requires for each.

`CASES` are single values. `TRUNCATED` is the sample cut at every length. `STORIES` are records whose outcome depends
on earlier records. `TEXTS` must be stored unchanged. `JSON` and `NOT_JSON` are small documents in the style of the
public JSON conformance suites.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from orderflow.contract.definition import MAX_VALUE_BYTES, STANDARD_FIELDS, Order, Reason

SAMPLE = (
    b'{"customer_id": 87654, "order_id": "ORDER-000001", "product_name": "Yoga Mat", '
    b'"product_category": "Sports & Outdoors", "unit_price": 45.99, "quantity": 2, "total_price": 91.98, '
    b'"order_timestamp": "2025-01-15T14:30:45"}'
)
ORDER = Order(
    customer_id=87654,
    order_id="ORDER-000001",
    product_name="Yoga Mat",
    product_category="Sports & Outdoors",
    unit_price=Decimal("45.99"),
    quantity=2,
    total_price=Decimal("91.98"),
    order_timestamp="2025-01-15T14:30:45",
)
_TOKENS = {
    "customer_id": "87654",
    "order_id": '"ORDER-000001"',
    "product_name": '"Yoga Mat"',
    "product_category": '"Sports & Outdoors"',
    "unit_price": "45.99",
    "quantity": "2",
    "total_price": "91.98",
    "order_timestamp": '"2025-01-15T14:30:45"',
}
_REVERSED = b"{" + b", ".join(reversed(SAMPLE[1:-1].split(b", "))) + b"}"
_NUMBER_FIELDS = ("customer_id", "unit_price", "quantity", "total_price")
_TEXT_FIELDS = ("order_id", "product_name", "product_category", "order_timestamp")


class Case(NamedTuple):
    """A message value, and the order it holds or the reason for its rejection."""

    name: str
    value: bytes | None
    expected: Order | Reason


class Step(NamedTuple):
    """A record and its outcome."""

    value: bytes
    outcome: Literal["stored", "duplicate"] | Reason
    partition: int = 0
    key: bytes | None = b"ORDER-000001"


class Story(NamedTuple):
    """Records in order of arrival, in batches. The sink restarts before each batch."""

    name: str
    batches: tuple[tuple[Step, ...], ...]


def message(**tokens: str | None) -> bytes:
    """Return the sample with other JSON texts as field values. None omits a field; new names are added."""
    fields = {name: text for name, text in {**_TOKENS, **tokens}.items() if text is not None}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()


def sample_order(**values: object) -> Order:
    """Return the sample's order with other values."""
    return msgspec.structs.replace(ORDER, **values)


def numbered(number: int, **tokens: str | None) -> bytes:
    """Return a valid message with its own order_id."""
    return message(order_id=f'"ORDER-{number:06}"', **tokens)


def quoted(text: str) -> str:
    """Return the text as a JSON string with as few escapes as possible."""
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """Return the text as a JSON string in which every character is escaped."""
    units = text.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'


TEXTS = {
    "emoji": "🧘 Mat 🎽",
    "emoji of many code points": "👩‍👩‍👧‍👦🏳️‍🌈",
    "four-byte letters": "𝒴𝑜𝑔𝒶 𠜎𠜱",
    "combining marks": "Cafe\u0301 Z\u0351\u036b\u0343a\u0321\u034e\u0320lgo",
    "tab": "Yoga\tMat\t",
    "newline": "Yoga\nMat\n",
    "carriage return": "Yoga\r\nMat\r",
    "backslash": "Yoga\\Mat",
    "backslash at the end": "Yoga Mat\\",
    "backslash and letter": "\\t\\n\\0\\Z\\b\\r",
    "single quote": "Gardener's",
    "double quote": '24" pot',
    "backtick": "`orders`",
    "null of LOAD DATA": "\\N",
    "null as a word": "NULL",
    "sql": "'; DROP TABLE orders; -- ",
    "html": "<script>alert('x')</script>&amp;",
    "spreadsheet formula": '=HYPERLINK("http://example.com","x")',
    "ansi escape": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "bidirectional marks": "\u202emat\u202c \u2066x\u2069\u200f",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "line and paragraph separator": "a\u2028b\u2029c",
    "byte order mark inside": "a\ufeffb",
    "non-characters": "\ufffe\uffff\U0010ffff",
    "placeholders": "%s %(name)s %% {orders} {0} $1 ? :name",
    "a line of JSON": '{"order_id": "ORDER-000009"},',
    "spaces at both ends": "  Yoga Mat  ",
    "one space": " ",
    "looks like a number": "45.99",
    "command of the client": "' /* delimiter // x */ '",
}
LONGEST = {
    "255 one-byte characters": "x" * 255,
    "255 four-byte characters": "🧘" * 255,
    "255 backslashes": "\\" * 255,
    "255 newlines": "\n" * 255,
}

JSON = (
    *("null", "true", "false", "0", "-0", "-1", "1.5", "1e5", "1E-2", "1e+2", "0e+1", "1e400", "1e-400"),
    *("1e999999999999999999999", "-1e-999999999999999999999", "1" * 1500, "0." + "1" * 1500),
    *('""', '"\\u0061\\u30af\\u30EA"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\uD834\\uDD1E"', '"\\u0000"', '"\\ud800"'),
    *('"\x7f"', '"\u2028"', '"\uffff"', '"🧘"', "[]", "[[]]", "[1,2]", "[ 1 , [ ] ]", "{}", '{"":0}', '{"a":{"a":1}}'),
    *('{"a":[{"b":null}]}', '{"customer_id":1}', '[{"a":1},{"a":1}]', "\t\r\n 1 ", "[" * 20 + "]" * 20),
)
NOT_JSON = (
    *("nul", "nulll", "True", "FALSE", "NaN", "nan", "-NaN", "Infinity", "-Infinity", "+Infinity", "inf"),
    *("undefined", "+1", "++1", "-", "--1", "- 1", "-01", "01", "00", "1.", ".5", "-.5", "1.e1", "1e", "1e+"),
    *("1E-", "1ee2", "1e1.5", "0x1F", "0b1", "0o7", "1_000", "1,000.00", "1 000", "1/2", "1a", "1f", "1d", "1L"),
    *("1n", "１", "٣", "∞", "0.1.2", '"', '"a', 'a"', "'a'", "`a`", '\u201ca\u201d', "a", '"\\a"', '"\\x41"'),
    *('"\\\'"', '"\\u12"', '"\\u12G4"', '"\\u+123"', '"\\u 123"', '"\\U0041"', '"\\', '"\\"', '"\\\\\\"'),
    *('"\\uD834\\u"', '"\x00"', '"\t"', '"\n"', '"\x1f"', '"a""b"', "[", "]", "[[", "[1", "[1,", "[1,]", "[,1]"),
    *("[,]", "[1,,2]", "[1 2]", "[1;2]", "[1}", "{1]", "[1]]", "[a]", "(1)", "{", "}", '{"a"', '{"a":', '{"a":1'),
    *('{"a":1,', '{"a":1,}', "{,}", '{,"a":1}', '{"a" 1}', '{"a"::1}', '{"a"=1}', "{a:1}", "{'a':1}", "{1:1}"),
    *("{null:1}", '{"a":1 "b":2}', '{"a":1,,"b":2}', '{"a":1;"b":2}', '{"a":1}}', '{"a","b"}', "1//c", "/*c*/1"),
    *("1/*c*/", '#c\n1', "<!-- -->1", '1\x0c', '\x0b1', '1\xa0', '\u20281', '\u200b1', '\ufeff1', '1\x00'),
)  # fmt: skip


def _bytes() -> Iterator[Case]:
    yield Case("sample", SAMPLE, ORDER)
    yield Case("null value", None, Reason.NULL_VALUE)
    yield Case("empty", b"", Reason.EMPTY_VALUE)
    yield Case("white space", b" \t\r\n ", Reason.EMPTY_VALUE)
    yield Case("white space around", b"\r\n\t " + SAMPLE + b" \t\r\n", ORDER)
    yield Case("white space inside", SAMPLE.replace(b" ", b"\n\t\r ").replace(b"Yoga\n\t\r ", b"Yoga ").replace(
        b"Sports\n\t\r &\n\t\r ", b"Sports & "), ORDER)  # fmt: skip
    yield Case("no white space", SAMPLE.replace(b", ", b",").replace(b": ", b":"), ORDER)
    yield Case("form feed after", SAMPLE + b"\f", Reason.TRAILING_DATA)
    yield Case("vertical tab before", b"\v" + SAMPLE, Reason.MALFORMED_JSON)
    yield Case("no-break space after", SAMPLE + b"\xc2\xa0", Reason.TRAILING_DATA)
    for name, raw in {
        "stray byte": b"\xff",
        "lone continuation byte": b"\x80",
        "two-byte character cut": b"\xc3",
        "four-byte character cut": b"\xf0\x9f\xa7",
        "overlong slash": b"\xc0\xaf",
        "overlong nul": b"\xc0\x80",
        "surrogate as bytes": b"\xed\xa0\x80",
        "pair of surrogates as bytes": b"\xed\xa0\xbd\xed\xb8\x80",
        "above the last code point": b"\xf4\x90\x80\x80",
        "latin-1": "Café".encode("latin-1"),
    }.items():
        yield Case(f"invalid utf-8, {name}", SAMPLE.replace(b"Yoga", raw), Reason.INVALID_UTF8)
    yield Case("invalid utf-8 in a key", SAMPLE.replace(b"quantity", b"quantit\xff"), Reason.INVALID_UTF8)
    yield Case("invalid utf-8 after", SAMPLE + b"\xff", Reason.INVALID_UTF8)
    yield Case("byte order mark", b"\xef\xbb\xbf" + SAMPLE, Reason.BYTE_ORDER_MARK)
    yield Case("only a byte order mark", b"\xef\xbb\xbf", Reason.BYTE_ORDER_MARK)
    yield Case("byte order mark after", SAMPLE + b"\xef\xbb\xbf", Reason.TRAILING_DATA)
    yield Case("utf-16", SAMPLE.decode().encode("utf-16"), Reason.INVALID_UTF8)
    yield Case("utf-16 without mark", SAMPLE.decode().encode("utf-16-le"), Reason.MALFORMED_JSON)
    yield Case("utf-32 without mark", SAMPLE.decode().encode("utf-32-be"), Reason.MALFORMED_JSON)
    yield Case("trailing garbage", SAMPLE + b"x", Reason.TRAILING_DATA)
    yield Case("trailing nul", SAMPLE + b"\0", Reason.TRAILING_DATA)
    yield Case("trailing brace", SAMPLE + b"}", Reason.TRAILING_DATA)
    yield Case("trailing comma after the object", SAMPLE + b",", Reason.TRAILING_DATA)
    yield Case("leading comma before the object", b"," + SAMPLE, Reason.MALFORMED_JSON)
    yield Case("leading garbage", b"x" + SAMPLE, Reason.MALFORMED_JSON)
    yield Case("two documents", SAMPLE + SAMPLE, Reason.TRAILING_DATA)
    yield Case("two documents on two lines", SAMPLE + b"\n" + SAMPLE, Reason.TRAILING_DATA)
    yield Case("two documents with a comma", SAMPLE + b"," + SAMPLE, Reason.TRAILING_DATA)
    yield Case("single quotes", SAMPLE.replace(b'"', b"'"), Reason.MALFORMED_JSON)
    yield Case("no quotes on keys", SAMPLE.replace(b'"quantity"', b"quantity"), Reason.MALFORMED_JSON)
    yield Case("python dictionary", repr(json.loads(message(coupon="null"))).encode(), Reason.MALFORMED_JSON)
    yield Case("comment before", b"/* order */ " + SAMPLE, Reason.MALFORMED_JSON)
    yield Case("comment inside", SAMPLE.replace(b" 45.99", b" /* EUR */ 45.99"), Reason.MALFORMED_JSON)
    yield Case("comment after", SAMPLE + b" // order", Reason.TRAILING_DATA)
    yield Case("trailing comma inside", SAMPLE.replace(b"}", b",}"), Reason.MALFORMED_JSON)
    yield Case("comma twice", SAMPLE.replace(b", ", b",, ", 1), Reason.MALFORMED_JSON)
    yield Case("comma missing", SAMPLE.replace(b", ", b" ", 1), Reason.MALFORMED_JSON)
    yield Case("colon missing", SAMPLE.replace(b": ", b" ", 1), Reason.MALFORMED_JSON)
    yield Case("closing brace missing", SAMPLE[:-1], Reason.MALFORMED_JSON)
    yield Case("closing bracket instead", SAMPLE[:-1] + b"]", Reason.MALFORMED_JSON)
    for code in (0, 1, 9, 10, 13, 27, 31):
        raw = SAMPLE.replace(b"Yoga Mat", b"Yoga" + bytes([code]) + b"Mat")
        yield Case(f"raw control character {code}", raw, Reason.MALFORMED_JSON)
    yield Case("raw control character in a key", SAMPLE.replace(b"quantity", b"quantity\n"), Reason.MALFORMED_JSON)
    yield Case("unknown escape", message(product_name=r'"\x41"'), Reason.MALFORMED_JSON)
    yield Case("short unicode escape", message(product_name=r'"\u12"'), Reason.MALFORMED_JSON)
    yield Case("escaped nul", message(product_name=r'"Yoga\u0000Mat"'), Reason.INVALID_TEXT)
    yield Case("escaped nul in the id", message(order_id=r'"ORDER-000001\u0000"'), Reason.INVALID_ORDER_ID)
    yield Case("escaped nul in the time", message(order_timestamp=r'"2025-01-15T14:30:45\u0000"'),
               Reason.INVALID_TIMESTAMP)  # fmt: skip
    yield Case(
        "spelled-out nul escape", message(product_name=r'"Yoga\\u0000"'), sample_order(product_name="Yoga\\u0000")
    )
    yield Case(
        "escaped surrogate pair", message(product_name=r'"\ud83e\uddd8 Mat"'), sample_order(product_name="🧘 Mat")
    )
    yield Case("lone high surrogate", message(product_name=r'"Mat \ud83e"'), Reason.INVALID_TEXT)
    yield Case("lone low surrogate", message(product_category=r'"\uDDD8 Mat"'), Reason.INVALID_TEXT)
    yield Case("surrogates in the wrong order", message(product_name=r'"\uddd8\ud83e"'), Reason.INVALID_TEXT)
    yield Case("surrogate in the id", message(order_id=r'"ORDER-000001\ud800"'), Reason.INVALID_ORDER_ID)
    yield Case("surrogate in the time", message(order_timestamp=r'"\udfff"'), Reason.INVALID_TIMESTAMP)
    yield Case(
        "last code point before the surrogates", message(product_name=r'"\ud7ff"'), sample_order(product_name="\ud7ff")
    )
    for opening, closing in ("[]", ('{"a":', "}")):
        nested = opening * 100_000 + "0" + closing * 100_000
        yield Case(f"100,000 times {opening}", nested.encode(), Reason.TOO_DEEP)
        yield Case(f"100,000 times {opening} in an unknown field", message(extra=nested), Reason.TOO_DEEP)
    yield Case("100,000 times [ unclosed", b"[" * 100_000, Reason.TOO_DEEP)
    deepest = '{"a":' * 31 + "[" * 32 + "]" * 32 + "}" * 31
    yield Case("64 levels", message(extra=deepest), ORDER)
    yield Case("65 levels", message(extra=f"[{deepest}]"), Reason.TOO_DEEP)
    yield Case("65 levels of two kinds", message(extra=f"[1, {deepest}, 2]"), Reason.TOO_DEEP)
    yield Case("many brackets, few levels", message(extra="[" + "[], " * 500 + "{}]"), ORDER)
    yield Case("brackets in a text", message(product_name=quoted("[" * 100 + '\\"' + "{" * 100)),
               sample_order(product_name="[" * 100 + '\\"' + "{" * 100))  # fmt: skip
    yield Case("20 MB string", message(product_name=quoted("x" * 20_000_000)), Reason.OVERSIZED_VALUE)
    yield Case("20 MB of white space", b" " * 20_000_000, Reason.OVERSIZED_VALUE)
    yield Case("largest value", SAMPLE.ljust(MAX_VALUE_BYTES), ORDER)
    yield Case("largest value and a byte", SAMPLE.ljust(MAX_VALUE_BYTES + 1), Reason.OVERSIZED_VALUE)
    yield Case("1,500 digits as price", message(unit_price="1" * 1500), Reason.OUT_OF_RANGE)
    yield Case("1,500 digits as quantity", message(quantity="2" * 1500), Reason.OUT_OF_RANGE)
    yield Case("1,500 digits in an unknown field", message(extra="1" * 1500), ORDER)
    yield Case("5,000 digits in an unknown field", message(extra="1" * 5000), ORDER)
    yield Case("1,500 zeros after the price", message(unit_price="45.99" + "0" * 1500), ORDER)
    yield Case("300,000 zeros after the quantity", message(quantity="2." + "0" * 300_000), Reason.WRONG_TYPE)
    yield Case("duplicate key, same value", SAMPLE.replace(b"{", b'{"quantity": 2, '), Reason.DUPLICATE_KEY)
    yield Case("duplicate key, other value", SAMPLE.replace(b"{", b'{"quantity": 3, '), Reason.DUPLICATE_KEY)
    yield Case("duplicate key, null first", SAMPLE.replace(b"{", b'{"quantity": null, '), Reason.DUPLICATE_KEY)
    yield Case("duplicate key, escaped", SAMPLE.replace(b"{", rb'{"\u0071uantity": 2, '), Reason.DUPLICATE_KEY)
    yield Case("duplicate unknown key", SAMPLE.replace(b"{", b'{"a": 1, "a": 1, '), Reason.DUPLICATE_KEY)
    yield Case("duplicate key inside an unknown field", message(extra='{"a": [{"b": 1, "b": 2}]}'),
               Reason.DUPLICATE_KEY)  # fmt: skip
    yield Case("escaped key", SAMPLE.replace(b"quantity", rb"\u0071uantit\u0079"), ORDER)
    yield Case("escaped text", message(order_id=r'"\u004fRDER\u002d000001"', product_name=r'"Yoga\u0020Mat"'), ORDER)
    yield Case("escaped slash", message(product_name=r'"Yoga\/Mat"'), sample_order(product_name="Yoga/Mat"))


def _shape() -> Iterator[Case]:
    for value in ("null", "[]", "[1]", "true", "1", "1.5", '"ORDER-000001"', quoted(SAMPLE.decode())):
        yield Case(f"whole value {value[:20]}", value.encode(), Reason.NOT_AN_OBJECT)
    yield Case("array of the sample", b"[" + SAMPLE + b"]", Reason.NOT_AN_OBJECT)
    yield Case("empty object", b"{}", Reason.MISSING_FIELD)
    yield Case("object around the sample", b'{"order": ' + SAMPLE + b"}", Reason.MISSING_FIELD)
    yield Case("connect envelope", b'{"schema": null, "payload": ' + SAMPLE + b"}", Reason.MISSING_FIELD)
    yield Case("json schema wire format", b"\0\0\0\0\x01" + SAMPLE, Reason.MALFORMED_JSON)
    yield Case("avro container", b"Obj\x01\x04\x14avro.codec\x08null" + SAMPLE, Reason.MALFORMED_JSON)
    yield Case("avro record", b"\0\0\0\0\x07\xac\xb1\x0a\x18ORDER-000001\x10Yoga Mat", Reason.INVALID_UTF8)
    yield Case("gzip", gzip.compress(SAMPLE, mtime=0), Reason.INVALID_UTF8)
    yield Case("csv line", b"87654,ORDER-000001,Yoga Mat,Sports & Outdoors,45.99,2,91.98,2025-01-15T14:30:45",
               Reason.TRAILING_DATA)  # fmt: skip
    yield Case("xml", b"<order><customer_id>87654</customer_id></order>", Reason.MALFORMED_JSON)
    yield Case("fields in another order", _REVERSED, ORDER)
    for name in STANDARD_FIELDS:
        yield Case(f"{name} missing", message(**{name: None}), Reason.MISSING_FIELD)
        yield Case(f"{name} null", message(**{name: "null"}), Reason.NULL_FIELD)
        for key in (name.upper(), name.title(), name.replace("_", ""), f" {name}", f"{name} "):
            if key != name:
                raw = message(**{name: None, key: _TOKENS[name]})
                yield Case(f"{name} spelled '{key}'", raw, Reason.MISSING_FIELD)
        for token in ("true", "false", "[]", "{}", f"[{_TOKENS[name]}]", f'{{"value": {_TOKENS[name]}}}'):
            yield Case(f"{name} is {token}", message(**{name: token}), Reason.WRONG_TYPE)
    for name in _NUMBER_FIELDS:
        for text in (_TOKENS[name], "", "1,50", "abc", "NaN"):
            yield Case(f"{name} is the string '{text}'", message(**{name: quoted(text)}), Reason.WRONG_TYPE)
    for name in _TEXT_FIELDS:
        for token in ("1", "0", "1.5"):
            yield Case(f"{name} is the number {token}", message(**{name: token}), Reason.WRONG_TYPE)
    yield Case("unknown field", message(coupon='"SPRING"'), ORDER)
    yield Case("unknown field null", message(coupon="null"), ORDER)
    yield Case("unknown field of many kinds", message(a='[1, {"b": [null, true]}]', c="1.5e3", d='"\\u0000"'), ORDER)
    yield Case("unknown field with an empty name", SAMPLE.replace(b"{", b'{"": 0, '), ORDER)
    yield Case("field and its look-alike", message(QUANTITY="7"), ORDER)
    yield Case("kafka's own names as fields", message(kafka_offset="7", stored_at="null"), ORDER)


def _numbers() -> Iterator[Case]:
    for token in ("NaN", "Infinity", "-Infinity", "+1", "01", ".5", "5.", "1e", "0x10", "45,99", "1_0", "-", "$45.99"):
        for name in ("unit_price", "quantity"):
            yield Case(f"{name} is {token}", message(**{name: token}), Reason.MALFORMED_JSON)
    for token in ("1e400", "0", "0.00", "-0", "-0.0", "-45.99", "1e8", "100000000", "100000000.00", "99999999.995e1"):
        yield Case(f"unit_price is {token}", message(unit_price=token), Reason.OUT_OF_RANGE)
    for token in ("45.991", "45.9900000001", "0.001", "1e-3", "1e-400", "45.989999999999995", "99999999.999"):
        yield Case(f"unit_price is {token}", message(unit_price=token), Reason.EXCESS_SCALE)
    for token in ("45.990", "45.9900000000", "4599e-2", "4599E-2", "0.4599e2", "0.4599e+2", "45990e-3", "45.99e0"):
        yield Case(f"unit_price is {token}", message(unit_price=token), ORDER)
    for token in ("2.0", "2.5", "2e0", "2E0", "20e-1", "2.00000000000000000001", "1e400", "-0.0"):
        yield Case(f"quantity is {token}", message(quantity=token), Reason.WRONG_TYPE)
    for name in ("quantity", "customer_id"):
        for token in ("0", "-0", "-1", "2147483648", "4294967298", "18446744073709551618", "-2147483648"):
            yield Case(f"{name} is {token}", message(**{name: token}), Reason.OUT_OF_RANGE)
    yield Case("customer_id is 87654.0", message(customer_id="87654.0"), Reason.WRONG_TYPE)
    yield Case("smallest customer_id", message(customer_id="1"), sample_order(customer_id=1))
    yield Case("largest customer_id", message(customer_id="2147483647"), sample_order(customer_id=2147483647))

    def priced(name: str, price: str, quantity: int, total: str, expected: Reason | None = None) -> Case:
        tokens = message(unit_price=price, quantity=str(quantity), total_price=total)
        accepted = sample_order(unit_price=Decimal(price), quantity=quantity, total_price=Decimal(total))
        return Case(name, tokens, expected or accepted)

    yield priced("smallest price", "0.01", 1, "0.01")
    yield priced("largest price", "99999999.99", 1, "99999999.99")
    yield priced("largest quantity", "0.01", 2147483647, "21474836.47")
    yield priced("whole price", "46", 2, "92")
    yield priced("price in hundreds", "1e2", 2, "2e2")
    yield priced("total overflows", "99999999.99", 2, "199999999.98", Reason.OUT_OF_RANGE)
    yield priced("total wraps around", "50000000", 2, "0.01", Reason.WRONG_TOTAL)
    yield priced("total a cent high", "45.99", 2, "91.99", Reason.WRONG_TOTAL)
    yield priced("total a cent low", "45.99", 2, "91.97", Reason.WRONG_TOTAL)
    yield priced("total is the price", "45.99", 2, "45.99", Reason.WRONG_TOTAL)
    yield priced("total a cent off at the top", "33333333.33", 3, "99999999.98", Reason.WRONG_TOTAL)
    yield priced("total that floats reject", "1.1", 3, "3.3")
    yield priced("total that floats reject, large", "1234567.89", 81, "99999999.09")
    yield priced("total that only floats accept", "45.99", 2, "91.980000000000001", Reason.EXCESS_SCALE)
    yield priced("total as floats compute it", "1.1", 3, "3.3000000000000003", Reason.EXCESS_SCALE)
    yield priced("price that only floats accept", "45.990000000000001", 2, "91.98", Reason.EXCESS_SCALE)
    yield Case("total zero", message(total_price="0"), Reason.OUT_OF_RANGE)
    yield Case("total negative", message(total_price="-91.98"), Reason.OUT_OF_RANGE)
    yield Case("price and total zero", message(unit_price="0", total_price="0.00"), Reason.OUT_OF_RANGE)
    yield Case("price and total negative", message(unit_price="-45.99", total_price="-91.98"), Reason.OUT_OF_RANGE)


def _time() -> Iterator[Case]:
    for time in (
        *("0001-01-01T00:00:00", "9999-12-31T23:59:59", "1970-01-01T00:00:00", "2024-02-29T12:00:00"),
        *("2000-02-29T00:00:00", "2025-03-30T02:30:00", "2038-01-19T03:14:08", "1752-09-05T00:00:00"),
    ):
        yield Case(f"time {time}", message(order_timestamp=quoted(time)), sample_order(order_timestamp=time))
    for time in (
        *("", "now", "2025", "2025-01", "2025-01-15", "14:30:45", "2025-01-15T", "2025-01-15T14", "2025-01-15T14:30"),
        *("2025-01-15 14:30:45", "2025-01-15t14:30:45", "2025-01-15_14:30:45", "2025-01-15T 14:30:45"),
        *("2025-01-15T14:30:45Z", "2025-01-15T14:30:45z", "2025-01-15T14:30:45+00:00", "2025-01-15T14:30:45-0500"),
        *("2025-01-15T14:30:45 UTC", "2025-01-15T14:30:45[Europe/Berlin]", "2025-01-15T14:30:45.0"),
        *("2025-01-15T14:30:45.123456", "2025-01-15T14:30:45,5", "2025-1-15T14:30:45", "2025-01-15T4:30:45"),
        *("25-01-15T14:30:45", "15/01/2025 14:30:45", "01-15-2025T14:30:45", "20250115T143045", "2025-W03-3T14:30:45"),
        *("2025-015T14:30:45", "2025-02-30T00:00:00", "2025-02-29T00:00:00", "1900-02-29T00:00:00"),
        *("2025-04-31T00:00:00", "2025-00-15T00:00:00", "2025-13-15T00:00:00", "2025-01-00T00:00:00"),
        *("2025-01-32T00:00:00", "2025-01-15T24:00:00", "2025-01-15T14:60:00", "2025-01-15T14:30:60"),
        *("2016-12-31T23:59:60", "0000-01-01T00:00:00", "0000-00-00T00:00:00", "10000-01-01T00:00:00"),
        *("-001-01-15T14:30:45", "+2025-01-15T14:30:45", "2025-01-15T14:30:45 ", " 2025-01-15T14:30:45"),
        *("2025-01-15T14:30:45\n", "2025-01-15T14:30:-5", "2025-01-15T14:30:４5", "٢٠٢٥-٠١-١٥T14:30:45"),
        *("2025‐01‐15T14:30:45", "1736951445", "1736951445000"),
        "2025-01-15T14:30:45\nORDER-000002 1 1 2025-01-01T00:00:00",  # has the form of a line that the fast path checks
    ):  # fmt: skip
        yield Case(f"time {time!r}", message(order_timestamp=quoted(time)), Reason.INVALID_TIMESTAMP)
    yield Case("epoch milliseconds", message(order_timestamp="1736951445000"), Reason.WRONG_TYPE)
    yield Case("epoch seconds with fraction", message(order_timestamp="1736951445.5"), Reason.WRONG_TYPE)


def _text() -> Iterator[Case]:
    for name, text in (TEXTS | LONGEST).items():
        yield Case(f"text {name}", message(product_name=quoted(text)), sample_order(product_name=text))
        yield Case(f"text {name}, escaped", message(product_name=escaped(text)), sample_order(product_name=text))
        yield Case(
            f"category {name}", message(product_category=quoted(text[:100])), sample_order(product_category=text[:100])
        )
    for letter in ("x", "🧘", "\\"):
        yield Case(f"name of 256 {letter}", message(product_name=quoted(letter * 256)), Reason.WRONG_LENGTH)
        yield Case(f"category of 101 {letter}", message(product_category=quoted(letter * 101)), Reason.WRONG_LENGTH)
    yield Case("empty name", message(product_name='""'), Reason.WRONG_LENGTH)
    yield Case("empty category", message(product_category='""'), Reason.WRONG_LENGTH)
    for text in ("ORDER-000000", "ORDER-999999", "ORDER-1234567", "ORDER-" + "9" * 44):
        yield Case(f"id {text}", message(order_id=quoted(text)), sample_order(order_id=text))
    for text in (
        *("", "ORDER-", "ORDER-00001", "ORDER-" + "9" * 45, "order-000001", "Order-000001", "ORDER-000001 "),
        *(" ORDER-000001", "ORDER-000001\n", "ORDER-000001\t", "ORDER -000001", "ORDER_000001", "ORDER000001"),
        *(
            "ORDER--00001",
            "ORDER-00000A",
            "ORDER-0x0001",
            "ORDER-٠٠٠٠٠١",
            "ORDER-００００００",
            "ＯRDER-000001",
            "000001",
        ),
        *("ORDER-000001;ORDER-000002", "ORDER-000001' OR '1'='1", "ORDER-000001 1 1 2025-01-01T00:00:00\nORDER-000002"),
        *("ORDER-1e000001", "ORDER-+000001", "ORDER-1,000,000", "ORDER-000001.0", "ORDER-🧘🧘🧘🧘🧘🧘"),
    ):
        yield Case(f"id {text!r}", message(order_id=quoted(text)), Reason.INVALID_ORDER_ID)


def _stories() -> Iterator[Story]:
    first = Step(SAMPLE, "stored")
    again = Step(SAMPLE, "duplicate")
    elsewhere = Step(SAMPLE, "duplicate", partition=1)
    other = Step(message(customer_id="87655"), Reason.CONFLICT)
    yield Story("repeat in the same batch", ((first, again),))
    yield Story("many repeats in the same batch", ((first, *[again] * 50),))
    yield Story("repeat in the same batch, another partition", ((first, elsewhere),))
    yield Story("repeat across a restart", ((first,), (again,)))
    yield Story("repeat across a restart, another partition", ((first,), (elsewhere,)))
    yield Story("repeat everywhere", ((first, again, elsewhere), (again, elsewhere), (elsewhere, again)))
    yield Story("repeats among other orders", (
        tuple(Step(numbered(n), "stored") for n in range(1, 20)),
        tuple(Step(numbered(n), "duplicate" if n < 20 else "stored") for n in range(10, 30)),
    ))  # fmt: skip
    for name, raw in {
        "other field order": _REVERSED,
        "other number spelling": message(unit_price="45.990", total_price="9198e-2"),
        "other escapes": message(product_name=r'"Yoga\u0020Mat"'),
        "unknown field": message(coupon="1"),
    }.items():
        yield Story(f"repeat with {name}", ((first, Step(raw, "duplicate")), (Step(raw, "duplicate", 1),)))
    yield Story("conflict in the same batch", ((first, other),))
    yield Story("conflict across a restart", ((first,), (other,)))
    yield Story("conflict in another partition", ((first, other._replace(partition=1)),))
    yield Story("conflict twice, and the repeat of the first", ((first, other, other), (other, again)))
    for name, changed in {
        "name in other case": message(product_name='"YOGA MAT"'),
        "name with a trailing space": message(product_name='"Yoga Mat "'),
        "name with an accent": message(product_name='"Yogà Mat"'),
        "category in other case": message(product_category='"sports & outdoors"'),
        "category with a trailing tab": message(product_category='"Sports & Outdoors\\t"'),
        "price and total": message(unit_price="46.00", total_price="92.00"),
        "quantity and total": message(quantity="3", total_price="137.97"),
        "time by a second": message(order_timestamp='"2025-01-15T14:30:46"'),
    }.items():
        yield Story(f"conflict by {name}", ((first, Step(changed, Reason.CONFLICT)), (Step(changed, Reason.CONFLICT),)))
    emoji = Step(message(product_name='"🧘"'), "stored"), Step(message(product_name='"🎽"'), Reason.CONFLICT)
    yield Story("conflict by emoji", (emoji,))
    marks = Step(message(product_name='"é"'), "stored"), Step(message(product_name='"e\u0301"'), Reason.CONFLICT)
    yield Story("conflict by composition", (marks,))
    for name, key in {"no key": None, "empty key": b"", "other key": b"87654", "binary key": bytes(range(256))}.items():
        yield Story(name, ((first._replace(key=key), again._replace(key=key)),))
    yield Story("ids that differ in zeros", ((first, Step(message(order_id='"ORDER-0000001"'), "stored")),))
    yield Story("id in other case", ((first, Step(message(order_id='"order-000001"'), Reason.INVALID_ORDER_ID)),))
    yield Story("id with a space", ((first, Step(message(order_id='"ORDER-000001 "'), Reason.INVALID_ORDER_ID)),))


CASES = (*_bytes(), *_shape(), *_numbers(), *_time(), *_text())
TRUNCATED = tuple(SAMPLE[:length] for length in range(len(SAMPLE)))
STORIES = tuple(_stories())
