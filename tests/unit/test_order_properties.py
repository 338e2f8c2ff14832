"""For any bytes: the decoder agrees with the reference, the fast path with the exact path, a batch with its values."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderflow.contract import exact_path, fast_path, native
from orderflow.contract.definition import DEFAULT, STANDARD_FIELDS, Order
from orderflow.errors import RecordRejected
from tests.support import message_defects, reference
from tests.support.corpus import CASES, JSON, NOT_JSON, SAMPLE, TEXTS, TRUNCATED, message, numbered, quoted
from tests.support.message_defects import DICTIONARY, LINE, LINE_END, space, spelled_amount, spelled_text

many_examples = settings(max_examples=500)


texts = st.one_of(st.sampled_from(list(TEXTS.values())), st.text(min_size=1, max_size=12), st.just("Yoga Mat"))
amounts = st.one_of(st.integers(1, 20_000), st.integers(1, 10**10 - 1))
whole_numbers = st.one_of(st.integers(1, 5), st.integers(1, 2**31 - 1))
times = st.datetimes().map(lambda time: time.replace(microsecond=0).isoformat())
order_ids = st.integers(0, 10**7).map(lambda number: f"ORDER-{number:06}")
# One draw for all choices of notation. A draw for each would take ten times as long.
choices = st.randoms(use_true_random=True)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return a message that is valid or almost valid, in any notation."""
    price, quantity, rng = draw(amounts), draw(whole_numbers), draw(choices)
    total = price * quantity + rng.choice([0, 0, 0, 0, 0, 0, 1, -1])
    tokens = {
        "customer_id": str(draw(whole_numbers)),
        "order_id": spelled_text(draw(order_ids), rng),
        "product_name": spelled_text(draw(texts), rng),
        "product_category": spelled_text(draw(texts), rng),
        "unit_price": spelled_amount(price, rng),
        "quantity": str(quantity),
        "total_price": spelled_amount(max(total, 0), rng),
        "order_timestamp": spelled_text(draw(times), rng),
    }
    if rng.random() < 0.2:
        tokens[rng.choice(["coupon", "Quantity", ""])] = rng.choice([*JSON, *JSON, *NOT_JSON])
    names = list(tokens)
    if rng.random() < 0.5:
        rng.shuffle(names)
    before, after = space(rng), space(rng)
    fields = [f"{spelled_text(name, rng)}{before}:{after}{tokens[name]}" for name in names]
    return f"{after}{{{before}{f'{before},{after}'.join(fields)}{after}}}{before}".encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a message with zero to three defects at the level of bytes or tokens."""
    value, other, rng = draw(st.one_of(messages(), st.just(SAMPLE))), draw(messages()), draw(choices)
    for _ in range(draw(st.integers(0, 3))):
        value = message_defects.mutated(value, other, rng)
    return value


@st.composite
def cut_batches(draw: st.DrawFn) -> list[bytes]:
    """Return values that are parts of valid orders. Joined by commas, they form a valid JSON array."""
    whole = b",".join(draw(st.lists(st.one_of(messages(), st.just(SAMPLE)), min_size=2, max_size=4)))
    commas = [position for position, byte in enumerate(whole) if byte == ord(",")]
    cuts = sorted(draw(st.sets(st.sampled_from(commas), min_size=1, max_size=4)))
    return [whole[start + 1 : end] for start, end in zip([-1, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def balanced_batches(draw: st.DrawFn) -> list[bytes]:
    """Return defective values, each with as many quotes as a valid order without escapes."""
    values = draw(st.one_of(cut_batches(), st.lists(mutated(), min_size=1, max_size=4)))
    return [_with_quotes(value, 24, draw(st.booleans())) for value in values]


def _with_quotes(value: bytes, count: int, at_the_front: bool) -> bytes:
    missing = count - value.count(b'"')
    if missing < 0:
        return value.replace(b'"', b"", -missing) if at_the_front else value[::-1].replace(b'"', b"", -missing)[::-1]
    added = b'"' * missing if at_the_front else b'\\"' * missing
    middle = len(value) // 2
    return value[:middle] + added + value[middle:]


def read(value: bytes | None) -> reference.ReferenceOrder | None:
    try:
        return reference.by_value(exact_path.decode(value))
    except RecordRejected:
        return None


def comparable(result: object) -> object:
    return (result.reason, result.message) if isinstance(result, RecordRejected) else result


def decoded(value: bytes | None) -> object:
    try:
        return exact_path.decode(value)
    except RecordRejected as rejected:
        return comparable(rejected)


def escaped_with_surrogates(text: str) -> str:
    """Return the text as a JSON string in which all characters up to U+FFFF are escaped, lone surrogates too."""
    return '"' + "".join([f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text]) + '"'


def check(value: bytes) -> None:
    assert read(value) == reference.read(value)
    for order in read_fast(value):
        assert order == exact_path.decode(value)


def read_fast(value: bytes) -> list[Order]:
    """Return what the fast path reads from the value; empty if it does not accept the value."""
    return [
        *fast_path.as_orders(
            fast_path._keep_matching(native.read(pa.array([value], pa.large_binary()), DEFAULT)[0], DEFAULT)
        )
    ]


def check_batch(values: list[bytes | None]) -> None:
    results = fast_path.decode_values(values).results
    assert [comparable(result) for result in results] == [decoded(value) for value in values]


@many_examples
@given(messages())
def test_spellings_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@settings(many_examples, max_examples=1500)
@given(mutated())
@example(message(order_id=f'"ORDER-000001{LINE_END}"'))
@example(message(order_timestamp=f'"2025-01-15T14:30:45{LINE}"'))
def test_mutated_messages_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@many_examples
@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@many_examples
@given(st.lists(st.sampled_from(DICTIONARY), max_size=30).map(b"".join))
def test_any_tokens_are_read_as_the_reference_reads_them(value: bytes) -> None:
    check(value)


@many_examples
@given(
    st.sampled_from(["order_id", "product_name", "product_category", "order_timestamp"]),
    st.lists(
        st.sampled_from(
            ["ORDER-000001", "2025-01-15T14:30:45", "1", "45.99", " ", "\n", "\0", "\ud800", "x", "é", "🧘"]
        ),
        max_size=14,
    ).map("".join),
)
def test_any_text_in_a_text_field_is_read_as_the_reference_reads_it(name: str, text: str) -> None:
    check(message(**{name: quoted(text)}) if text.isprintable() else message(**{name: escaped_with_surrogates(text)}))


@many_examples
@given(
    st.sampled_from(["customer_id", "unit_price", "quantity", "total_price"]),
    st.lists(st.sampled_from("0123456789.-+eE"), min_size=1, max_size=12).map("".join),
)
def test_any_number_in_a_number_field_is_read_as_the_reference_reads_it(name: str, token: str) -> None:
    check(message(**{name: token}))


@given(st.integers(1, 10**10), st.integers(1, 2**31), st.integers(-1, 1))
def test_totals_are_exact_to_the_cent(price: int, quantity: int, off: int) -> None:
    tokens = {"unit_price": f"{price}e-2", "quantity": str(quantity), "total_price": f"{price * quantity + off}e-2"}
    kept = price < 10**10 and quantity < 2**31 and price * quantity < 10**10 and off == 0
    value = message(**tokens)
    assert (read(value) is not None) == kept
    check(value)


@many_examples
@given(st.lists(st.one_of(mutated(), st.just(SAMPLE), st.none()), max_size=8))
def test_a_batch_is_read_like_its_values(values: list[bytes | None]) -> None:
    check_batch(values)


@many_examples
@given(cut_batches())
def test_good_orders_cut_at_commas_are_read_like_single_values(values: list[bytes]) -> None:
    check_batch([*values])
    check_batch([numbered(1), *values, numbered(2)])


@many_examples
@given(balanced_batches())
def test_batches_with_balanced_quotes_equal_their_single_values(values: list[bytes]) -> None:
    check_batch([*values])
    check_batch([numbered(1), *values, numbered(2)])


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


def test_crafted_borders_are_read_like_single_values() -> None:
    for values in BORDERS:
        check_batch([*values])
        check_batch([*reversed(values)])
        check_batch([numbered(1), *values, numbered(2)])
        check_batch([*values] * 20)


def test_a_key_in_place_of_another_is_a_repeated_key() -> None:
    tokens = {name: json.dumps(value) for name, value in json.loads(SAMPLE).items()}
    for missing in STANDARD_FIELDS:
        for repeated in STANDARD_FIELDS:
            names = [repeated if name == missing else name for name in STANDARD_FIELDS]
            value = "{" + ", ".join([f'"{name}": {tokens[name]}' for name in names]) + "}"
            check(value.encode())
            assert bool(read_fast(value.encode())) == (missing == repeated)


def test_the_fast_and_the_exact_path_agree_on_the_corpus() -> None:
    accepted = 0
    for value in (*(case.value for case in CASES if case.value is not None), *TRUNCATED):
        check(value)
        accepted += len(read_fast(value))
    assert accepted > 40  # otherwise this test proves nothing


@given(messages())
def test_truncated_and_repeated_messages_are_rejected(value: bytes) -> None:
    value = value.strip()
    for end in range(0, len(value), 7):
        assert read(value[:end]) is None
    assert read(value * 2) is None
    assert read(value + b"\n" + value) is None
