"""JSON in any notation, and defects at the level of bytes and tokens. A `Random` makes all choices."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from orderflow.contract.definition import STANDARD_FIELDS
from tests.support.corpus import escaped, quoted

# The form of a line that the fast path checks, so that texts can imitate such lines.
LINE_END, LINE = r" 1 1 2025-01-01T00:00:00\nORDER-000002", r"\nORDER-000002 1 1 2025-01-01T00:00:00"
DICTIONARY = [
    *(f'"{name}"'.encode() for name in STANDARD_FIELDS),
    *(b'"ORDER-000001"', b'"Yoga Mat"', b'"2025-01-15T14:30:45"', b'"2025-02-30T14:30:45"', b'"', b'""', b'": "'),
    *(b"{", b"}", b"[", b"]", b",", b":", b"},{", b"}{", b"}, {", b"[{", b"}]", b"],[", b'", "', b"//", b"/**/", b"#"),
    *(b"0", b"1", b"2", b"-", b"+", b".", b"e", b"E", b"-0", b"00", b".0", b"0.", b"e0", b"e-2", b"E+1", b"45.99"),
    *(b"91.98", b"45.990", b"4599e-2", b"9198E-2", b"2.0", b"1e400", b"2147483648", b"1e999999999999999999999"),
    *(b"9" * 30, b"0.001", b"null", b"true", b"false", b"NaN", b"-Infinity", b'"x": 1, ', b'"quantity": 2, '),
    *(b', "x": [{}]', b'"\\u0071uantity"', b"\\", b'\\"', b"\\\\", b"\\/", b"\\n", b"\\u0000", b"\\u0041", b"\\x41"),
    *(b"\\ud83d", b"\\ud83d\\ude00", b"\\uDE00", b"\0", b"\n", b"\t", b"\r", b"\x1f", b"\x7f", b"\xff", b"\xc0\x80"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\xa0", b"\xe2\x80\xa8", "🧘é１".encode(), b"x" * 60, b" " * 60),
    *(LINE_END.encode(), LINE.encode()),
]  # fmt: skip
# The limits of UTF-8 and of escapes, on both sides.
_IN_TEXT = [
    *(b"\x7f", b"\xc1\xbf", b"\xc2\x80", b"\xc2", b"\xe0\x9f\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xed\xa0\x80"),
    *(b"\xee\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"),
    *(
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\0",
        b"\x1f",
        b"\n",
        b"\\/",
        b"\\u0022",
        b"\\u005c",
        b"\\u002F",
        b"\\b\\f\\r",
    ),
    *(b"\\u0000", b"\\u001f", b"\\u007f", b"\\u0080", b"\\u07ff", b"\\u0800", b"\\ud7ff", b"\\ue000", b"\\uffff"),
    *(
        b"\\ud800\\udc00",
        b"\\udbff\\udfff",
        b"\\ud800\\ue000",
        b"\\ud800\\udbff",
        b"\\udc00",
        b"\\ud800x",
        b"\\ud800\\n",
    ),
    *(b"\\u12g4", b"\\u12", b"\\v", b"\\'", b"\\U0041", b"x" * 16384),
]
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|[^\s\w]', re.DOTALL)


def spelled_text(text: str, rng: Random) -> str:
    """Return the text as a JSON string, perhaps with some characters escaped."""
    if rng.random() < 0.7:
        return quoted(text)
    return '"' + "".join([rng.choice([quoted, escaped])(character)[1:-1] for character in text]) + '"'


def spelled_amount(cents: int, rng: Random) -> str:
    """Return an amount as a JSON number, in one of its notations."""
    plain, zeros = f"{cents // 100}.{cents % 100:02}", rng.randrange(4)
    if rng.random() < 0.5:
        return plain
    return rng.choice([plain + "0" * zeros, f"{plain}e0", f"{cents}e-2", f"{cents}{'0' * zeros}E-{2 + zeros}"])


def space(rng: Random) -> str:
    """Return white space of JSON, often none."""
    return rng.choice(["", "", " ", "\n", "\t\r\n "])


def mutated(value: bytes, other: bytes, rng: Random) -> bytes:
    """Return the value with one defect; some splice it with the other value."""
    return rng.choice(_MUTATIONS)(value or b"x", other, rng)


def _flip(value: bytes, _: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(value))
    return value[:at] + bytes([rng.randrange(256)]) + value[at + 1 :]


def _insert(value: bytes, _: bytes, rng: Random) -> bytes:
    at = rng.randint(0, len(value))
    return value[:at] + rng.choice([rng.choice(DICTIONARY), rng.randbytes(rng.randint(1, 3))]) + value[at:]


def _delete(value: bytes, _: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(value))
    return value[:at] + value[at + rng.randint(1, 12) :]


def _repeat_slice(value: bytes, _: bytes, rng: Random) -> bytes:
    start, at = rng.randrange(len(value)), rng.randint(0, len(value))
    return value[:at] + value[start : start + rng.randint(1, 40)] + value[at:]


def _splice(value: bytes, other: bytes, rng: Random) -> bytes:
    return value[: rng.randint(0, len(value))] + other[rng.randint(0, len(other)) :]


def _tokens(value: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in _TOKEN.finditer(value)] or [(0, len(value))]


def _replace_token(value: bytes, _: bytes, rng: Random) -> bytes:
    start, end = rng.choice(_tokens(value))
    return value[:start] + rng.choice(DICTIONARY) + value[end:]


def _insert_token(value: bytes, _: bytes, rng: Random) -> bytes:
    # After the token, or inside it: at the end of a text.
    at = rng.choice(_tokens(value))[1] - rng.randint(0, 1)
    return value[:at] + rng.choice(DICTIONARY) + value[at:]


def _swap_tokens(value: bytes, _: bytes, rng: Random) -> bytes:
    (a, b), (c, d) = sorted(rng.choice(_tokens(value)) for _ in range(2))
    return value[:a] + value[c:d] + value[b:c] + value[a:b] + value[d:] if b <= c else value


def _insert_in_text(value: bytes, _: bytes, rng: Random) -> bytes:
    texts = [(start, end) for start, end in _tokens(value) if value[start : start + 1] == b'"' and end > start + 1]
    start, end = rng.choice(texts or [(0, len(value))])
    at = rng.choice([start + 1, end - 1, rng.randint(start, end)])
    return value[:at] + rng.choice(_IN_TEXT) + value[at:]


_MUTATIONS: list[Callable[[bytes, bytes, Random], bytes]] = [
    *(_flip, _insert, _delete, _repeat_slice, _splice, _replace_token, _insert_token, _swap_tokens),
    *(_insert_in_text, _insert_in_text),
]
