"""For any bytes: the decoder agrees with the reference, the fast path with the exact path, a batch with its parts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderflow.contract import exact_path, fast_path, native
from orderflow.contract.definition import DEFAULT, EIGHT, Order
from orderflow.errors import RecordRejected
from tests import reference
from tests.corpus import CASES, JSON, NOT_JSON, SAMPLE, TEXTS, TRUNCATED, escaped, message, numbered, quoted

often = settings(max_examples=500)


# The form of a line that the fast path checks, so that texts can imitate such lines.
LINE_END, LINE = r" 1 1 2025-01-01T00:00:00\nORDER-000002", r"\nORDER-000002 1 1 2025-01-01T00:00:00"
DICTIONARY = [
    *(f'"{name}"'.encode() for name in EIGHT),
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
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|[^\s\w]', re.DOTALL)

texts = st.one_of(st.sampled_from(list(TEXTS.values())), st.text(min_size=1, max_size=12), st.just("Yoga Mat"))
amounts = st.one_of(st.integers(1, 20_000), st.integers(1, 10**10 - 1))
whole_numbers = st.one_of(st.integers(1, 5), st.integers(1, 2**31 - 1))
times = st.datetimes().map(lambda time: time.replace(microsecond=0).isoformat())
order_ids = st.integers(0, 10**7).map(lambda number: f"ORDER-{number:06}")
# One draw for all choices of notation. A draw for each would take ten times as long.
choices = st.randoms(use_true_random=True)


def spelled_text(text: str, choice: Random) -> str:
    """Return the text as a JSON string, perhaps with some characters escaped."""
    if choice.random() < 0.7:
        return quoted(text)
    return '"' + "".join([choice.choice([quoted, escaped])(character)[1:-1] for character in text]) + '"'


def spelled_amount(cents: int, choice: Random) -> str:
    """Return an amount as a JSON number, in one of its notations."""
    plain, zeros = f"{cents // 100}.{cents % 100:02}", choice.randrange(4)
    if choice.random() < 0.5:
        return plain
    return choice.choice([plain + "0" * zeros, f"{plain}e0", f"{cents}e-2", f"{cents}{'0' * zeros}E-{2 + zeros}"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return a message that keeps the contract, or nearly does, in any notation."""
    price, quantity, choice = draw(amounts), draw(whole_numbers), draw(choices)
    total = price * quantity + choice.choice([0, 0, 0, 0, 0, 0, 1, -1])
    tokens = {
        "customer_id": str(draw(whole_numbers)),
        "order_id": spelled_text(draw(order_ids), choice),
        "product_name": spelled_text(draw(texts), choice),
        "product_category": spelled_text(draw(texts), choice),
        "unit_price": spelled_amount(price, choice),
        "quantity": str(quantity),
        "total_price": spelled_amount(max(total, 0), choice),
        "order_timestamp": spelled_text(draw(times), choice),
    }
    if choice.random() < 0.2:
        tokens[choice.choice(["coupon", "Quantity", ""])] = choice.choice([*JSON, *JSON, *NOT_JSON])
    names = list(tokens)
    if choice.random() < 0.5:
        choice.shuffle(names)
    before, after = (choice.choice(["", "", " ", "\n", "\t\r\n "]) for _ in range(2))
    fields = [f"{spelled_text(name, choice)}{before}:{after}{tokens[name]}" for name in names]
    return f"{after}{{{before}{f'{before},{after}'.join(fields)}{after}}}{before}".encode("utf-8", "surrogatepass")


def flip(draw: st.DrawFn, value: bytes) -> bytes:
    at = draw(st.integers(0, len(value) - 1))
    return value[:at] + bytes([draw(st.integers(0, 255))]) + value[at + 1 :]


def insert(draw: st.DrawFn, value: bytes) -> bytes:
    at = draw(st.integers(0, len(value)))
    return value[:at] + draw(st.one_of(st.sampled_from(DICTIONARY), st.binary(min_size=1, max_size=3))) + value[at:]


def delete(draw: st.DrawFn, value: bytes) -> bytes:
    at = draw(st.integers(0, len(value) - 1))
    return value[:at] + value[at + draw(st.integers(1, 12)) :]


def repeat_slice(draw: st.DrawFn, value: bytes) -> bytes:
    start = draw(st.integers(0, len(value) - 1))
    piece = value[start : start + draw(st.integers(1, 40))]
    at = draw(st.integers(0, len(value)))
    return value[:at] + piece + value[at:]


def splice(draw: st.DrawFn, value: bytes) -> bytes:
    other = draw(messages())
    return value[: draw(st.integers(0, len(value)))] + other[draw(st.integers(0, len(other))) :]


def _tokens(value: bytes) -> list[tuple[int, int]]:
    return [found.span() for found in TOKEN.finditer(value)] or [(0, len(value))]


def replace_token(draw: st.DrawFn, value: bytes) -> bytes:
    start, end = draw(st.sampled_from(_tokens(value)))
    return value[:start] + draw(st.sampled_from(DICTIONARY)) + value[end:]


def insert_token(draw: st.DrawFn, value: bytes) -> bytes:
    _, end = draw(st.sampled_from(_tokens(value)))
    # After the token, or inside it: at the end of a text.
    at = end - draw(st.integers(0, 1))
    return value[:at] + draw(st.sampled_from(DICTIONARY)) + value[at:]


def swap_tokens(draw: st.DrawFn, value: bytes) -> bytes:
    (a, b), (c, d) = sorted([draw(st.sampled_from(_tokens(value))), draw(st.sampled_from(_tokens(value)))])
    return value[:a] + value[c:d] + value[b:c] + value[a:b] + value[d:] if b <= c else value


MUTATIONS: list[Callable[[st.DrawFn, bytes], bytes]] = [
    *(flip, insert, delete, repeat_slice, splice, replace_token, insert_token, swap_tokens)
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a message with zero to three defects at the level of bytes or tokens."""
    value = draw(st.one_of(messages(), st.just(SAMPLE)))
    for _ in range(draw(st.integers(0, 3))):
        value = draw(st.sampled_from(MUTATIONS))(draw, value or b"x")
    return value


@st.composite
def cut_runs(draw: st.DrawFn) -> list[bytes]:
    """Return values that are parts of valid orders. Joined by commas, they form a valid JSON array."""
    whole = b",".join(draw(st.lists(st.one_of(messages(), st.just(SAMPLE)), min_size=2, max_size=4)))
    commas = [at for at, byte in enumerate(whole) if byte == ord(",")]
    cuts = sorted(draw(st.sets(st.sampled_from(commas), min_size=1, max_size=4)))
    return [whole[start + 1 : end] for start, end in zip([-1, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def balanced_runs(draw: st.DrawFn) -> list[bytes]:
    """Return defective values, each with as many quotes as a valid order without escapes."""
    values = draw(st.one_of(cut_runs(), st.lists(mutated(), min_size=1, max_size=4)))
    return [_with_quotes(value, 24, draw(st.booleans())) for value in values]


def _with_quotes(value: bytes, wanted: int, in_front: bool) -> bytes:
    lacking = wanted - value.count(b'"')
    if lacking < 0:
        return value.replace(b'"', b"", -lacking) if in_front else value[::-1].replace(b'"', b"", -lacking)[::-1]
    more = b'"' * lacking if in_front else b'\\"' * lacking
    middle = len(value) // 2
    return value[:middle] + more + value[middle:]


def read(value: bytes | None) -> reference.Read | None:
    try:
        return reference.by_value(exact_path.decode(value))
    except RecordRejected:
        return None


def comparable(result: object) -> object:
    return (result.reason, result.message) if isinstance(result, RecordRejected) else result


def alone(value: bytes | None) -> object:
    try:
        return exact_path.decode(value)
    except RecordRejected as rejected:
        return comparable(rejected)


def escaped_even_halves(text: str) -> str:
    """Return the text as a JSON string in which all characters up to U+FFFF are escaped, lone surrogates too."""
    return '"' + "".join([f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text]) + '"'


def check(value: bytes) -> None:
    assert read(value) == reference.read(value)
    for quick in quickly(value):
        assert quick == exact_path.decode(value)


def quickly(value: bytes) -> list[Order]:
    """Return what the fast path reads from the value; empty if it does not accept the value."""
    return [
        *fast_path.as_orders(
            fast_path._keep_matching(native.read(pa.array([value], pa.large_binary()), DEFAULT)[0], DEFAULT)
        )
    ]


def check_run(values: list[bytes | None]) -> None:
    assert [comparable(result) for result in fast_path.read(values).results] == [alone(value) for value in values]


@often
@given(messages())
def test_spellings_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@settings(often, max_examples=1500)
@given(mutated())
@example(message(order_id=f'"ORDER-000001{LINE_END}"'))
@example(message(order_timestamp=f'"2025-01-15T14:30:45{LINE}"'))
def test_mutated_messages_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@often
@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@often
@given(st.lists(st.sampled_from(DICTIONARY), max_size=30).map(b"".join))
def test_any_tokens_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@often
@given(
    st.sampled_from(["order_id", "product_name", "product_category", "order_timestamp"]),
    st.lists(
        st.sampled_from(
            ["ORDER-000001", "2025-01-15T14:30:45", "1", "45.99", " ", "\n", "\0", "\ud800", "x", "é", "🧘"]
        ),
        max_size=14,
    ).map("".join),
)
def test_any_text_in_a_text_field(name: str, text: str) -> None:
    check(message(**{name: quoted(text)}) if text.isprintable() else message(**{name: escaped_even_halves(text)}))


@often
@given(
    st.sampled_from(["customer_id", "unit_price", "quantity", "total_price"]),
    st.lists(st.sampled_from("0123456789.-+eE"), min_size=1, max_size=12).map("".join),
)
def test_any_number_in_a_number_field(name: str, token: str) -> None:
    check(message(**{name: token}))


@given(st.integers(1, 10**10), st.integers(1, 2**31), st.integers(-1, 1))
def test_totals_are_exact_to_the_cent(price: int, quantity: int, off: int) -> None:
    tokens = {"unit_price": f"{price}e-2", "quantity": str(quantity), "total_price": f"{price * quantity + off}e-2"}
    kept = price < 10**10 and quantity < 2**31 and price * quantity < 10**10 and off == 0
    value = message(**tokens)
    assert (read(value) is not None) == kept
    check(value)


@often
@given(st.lists(st.one_of(mutated(), st.just(SAMPLE), st.none()), max_size=8))
def test_a_run_is_read_like_its_parts(values: list[bytes | None]) -> None:
    check_run(values)


@often
@given(cut_runs())
def test_good_orders_cut_at_commas_are_read_like_their_parts(values: list[bytes]) -> None:
    check_run([*values])
    check_run([numbered(1), *values, numbered(2)])


@often
@given(balanced_runs())
def test_runs_with_the_right_number_of_quotes_are_read_like_their_parts(values: list[bytes]) -> None:
    check_run([*values])
    check_run([numbered(1), *values, numbered(2)])


BORDERS = [
    (SAMPLE + b"," + SAMPLE, b""),
    (SAMPLE, b"", SAMPLE),
    (SAMPLE + b",", SAMPLE),
    (SAMPLE, b"," + SAMPLE),
    (SAMPLE[:-1], b"}" + SAMPLE),
    (SAMPLE[:-1], SAMPLE[1:]),
    (SAMPLE + b",{", SAMPLE[1:]),
    (SAMPLE + b"]", b"[" + SAMPLE),
    (b"[" + SAMPLE, SAMPLE + b"]"),
    (SAMPLE + b"/*", b"*/" + SAMPLE),
    (SAMPLE + b" //", SAMPLE),
    (SAMPLE[:-2], b'"' + SAMPLE),
    # Twelve quotes before the border, twelve after the next one.
    (SAMPLE.partition(b', "quantity')[0], b'"quantity' + SAMPLE.partition(b', "quantity')[2]),
    # A text that starts before the border and ends after it.
    (SAMPLE[:-2].replace(b"Yoga", b'\\"Yoga'), b'"}' + SAMPLE.replace(b"Yoga", b'\\"Yoga')),
    (SAMPLE.replace(b'Mat"', b"Mat").replace(b"Sports", b'\\"Sports'), SAMPLE),
    # A repeated key, balanced by a value without quotes.
    (SAMPLE.replace(b'"Yoga Mat"', b"5").replace(b"{", b'{"quantity": 2, '), SAMPLE),
    (SAMPLE.replace(b'"Yoga Mat"', b"5").replace(b"Sports", b'\\"Sports\\"'), SAMPLE),
    (SAMPLE.replace(b"45.99", b'"45.99"').replace(b'"Yoga Mat"', b"5"), SAMPLE),
    (SAMPLE, None, SAMPLE),
    (b"\xef\xbb\xbf" + SAMPLE, SAMPLE),
    (SAMPLE + b"\0", SAMPLE),
]


def test_crafted_borders_are_read_like_their_parts() -> None:
    for values in BORDERS:
        check_run([*values])
        check_run([*reversed(values)])
        check_run([numbered(1), *values, numbered(2)])
        check_run([*values] * 20)


def test_a_key_that_stands_for_another_is_a_repeated_one() -> None:
    tokens = {name: json.dumps(value) for name, value in json.loads(SAMPLE).items()}
    for lacking in EIGHT:
        for twice in EIGHT:
            names = [twice if name == lacking else name for name in EIGHT]
            value = "{" + ", ".join([f'"{name}": {tokens[name]}' for name in names]) + "}"
            check(value.encode())
            assert bool(quickly(value.encode())) == (lacking == twice)


def test_fast_and_exact_reading_agree_on_the_corpus() -> None:
    accepted = 0
    for value in (*(case.value for case in CASES if case.value is not None), *TRUNCATED):
        check(value)
        accepted += len(quickly(value))
    assert accepted > 40  # otherwise this test proves nothing


@given(messages())
def test_truncated_and_repeated_messages_are_rejected(value: bytes) -> None:
    value = value.strip()
    for end in range(0, len(value), 7):
        assert read(value[:end]) is None
    assert read(value * 2) is None
    assert read(value + b"\n" + value) is None
