"""The contract: every case of the corpus, by itself and within a batch."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orderflow.contract import exact_path
from orderflow.contract.definition import DEFAULT, STANDARD_FIELDS, Order, Reason
from orderflow.contract.exact_path import RangeCheck
from orderflow.contract.fast_path import decode_values
from orderflow.contract.order_ranges import outside_ranges
from orderflow.errors import RecordRejected
from tests.support import reference
from tests.support.corpus import CASES, JSON, NOT_JSON, ORDER, SAMPLE, TRUNCATED, Case, message, numbered, sample_order

# More than two of the chunks into which a batch with bad records is split.
MESSAGES = [numbered(number) for number in range(1, 80)]
ORDERS = [sample_order(order_id=f"ORDER-{number:06}") for number in range(1, 80)]


def outcome(value: bytes | None, range_check: RangeCheck | None = None) -> Order | Reason:
    try:
        return exact_path.decode(value, range_check=range_check)
    except RecordRejected as rejected:
        return Reason(rejected.reason)


def outcomes(values: list[bytes | None], range_check: RangeCheck | None = None) -> list[Order | Reason]:
    return [
        Reason(result.reason) if isinstance(result, RecordRejected) else result
        for result in decode_values(values, range_check=range_check).results
    ]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_case_has_its_expected_outcome(case: Case) -> None:
    assert outcome(case.value) == case.expected
    assert outcomes([case.value]) == [case.expected]
    assert (reference.read(case.value) is not None) == isinstance(case.expected, Order)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_case_has_the_same_outcome_among_good_orders(case: Case) -> None:
    for position in (0, 1, 31, 32, 33, 63, 64, len(MESSAGES)):
        assert outcomes([*MESSAGES[:position], case.value, *MESSAGES[position:]]) == [
            *ORDERS[:position],
            case.expected,
            *ORDERS[position:],
        ]


@pytest.mark.parametrize("value", [None, b"", SAMPLE + SAMPLE, SAMPLE[:-1], b"}," + SAMPLE, message(a="1")])
def test_a_value_has_the_same_outcome_at_every_position(value: bytes | None) -> None:
    for position in range(len(MESSAGES) + 1):
        assert outcomes([*MESSAGES[:position], value, *MESSAGES[position:]]) == [
            *ORDERS[:position],
            outcome(value),
            *ORDERS[position:],
        ]


def test_all_cases_have_their_outcomes_in_one_batch() -> None:
    small = [case for case in CASES if case.value is None or len(case.value) < 1_000_000]
    assert outcomes([case.value for case in small]) == [case.expected for case in small]


def test_the_corpus_is_large_and_without_repeats() -> None:
    assert len({case.value for case in CASES}) == len({case.name for case in CASES}) == len(CASES) >= 150
    assert {case.expected for case in CASES if isinstance(case.expected, Reason)} == set(Reason) - {
        Reason.INVALID_VALUE,
        Reason.UNKNOWN_FIELD,
        Reason.OUTSIDE_RANGES,
        Reason.CONFLICT,
        Reason.REFUSED_BY_DATABASE,
    }


def test_a_truncated_message_is_rejected_at_every_length() -> None:
    assert outcomes(list(TRUNCATED)) == [Reason.EMPTY_VALUE] + [Reason.MALFORMED_JSON] * (len(SAMPLE) - 1)
    emoji = SAMPLE.replace(b"Yoga", "🧘é".encode())
    assert not [length for length in range(len(emoji)) if isinstance(outcome(emoji[:length]), Order)]


def test_one_flipped_bit_is_read_as_the_reference_reads_it() -> None:
    for position in range(len(SAMPLE)):
        for bit in range(8):
            flipped = bytearray(SAMPLE)
            flipped[position] ^= 1 << bit
            result = outcome(bytes(flipped))
            order = reference.by_value(result) if isinstance(result, Order) else None
            assert order == reference.read(bytes(flipped)), bytes(flipped)


@pytest.mark.parametrize("text", JSON)
def test_json_in_an_unknown_field_is_accepted_and_counted(text: str) -> None:
    reading = decode_values([message(coupon=text), SAMPLE])
    assert reading.results == [ORDER, ORDER]
    assert reading.unknown_fields.to_pylist() == [{"name": "coupon", "batch_index": 0}]
    assert isinstance(outcome(text.encode()), Reason)


@pytest.mark.parametrize("text", NOT_JSON)
def test_invalid_json_is_rejected_in_every_field(text: str) -> None:
    for value in (text.encode(), message(coupon=text), message(coupon=f"[{text}]"), message(unit_price=text)):
        assert isinstance(outcome(value), Reason)
        assert reference.read(value) is None
    first = b'{"coupon": %b, ' % text.encode() + SAMPLE[1:]
    assert isinstance(outcome(first), Reason)


def test_the_outcome_does_not_depend_on_the_depth_of_the_call_stack() -> None:
    def deeper(calls: int, value: bytes) -> Order | Reason:
        return deeper(calls - 1, value) if calls else outcome(value)

    for depth in (10, 50, 200, 400, 600, 800, 900, 980):
        value = message(coupon="[" * depth + "]" * depth)
        assert deeper(500, value) == outcome(value), f"{depth} deep"


def test_details_are_short_and_harmless() -> None:
    for case in CASES:
        if isinstance(case.expected, Reason):
            with pytest.raises(RecordRejected) as caught:
                exact_path.decode(case.value)
            detail = caught.value.message
            assert 0 < len(detail) <= 500, f"{case.name}: {len(detail)} characters"
            assert detail.isprintable() and detail.replace("×", "").isascii(), case.name


def test_amounts_are_decoded_exactly() -> None:
    order = exact_path.decode(message(unit_price="45.990", total_price="9198e-2"))
    assert (type(order.unit_price), order.unit_price) == (Decimal, Decimal("45.99"))
    assert order.unit_price * 2 == order.total_price == Decimal("91.98")
    assert order.row()[4] == Decimal("45.99")


def test_unknown_fields_are_reported_with_their_batch_indexes() -> None:
    reading = decode_values([*MESSAGES, message(a="1", b="2"), message(a="3"), b"{}", message(c="1", quantity='"2"')])
    names, batch_indexes = reading.unknown_fields.columns
    assert [*zip(names.to_pylist(), batch_indexes.to_pylist(), strict=True)] == [
        ("a", len(MESSAGES)),
        ("b", len(MESSAGES)),
        ("a", len(MESSAGES) + 1),
    ]


def test_an_empty_batch_has_no_results() -> None:
    reading = decode_values([])
    assert reading.results == [] and reading.unknown_fields.num_rows == 0


IN_RANGES = {"unit_price": "50.00", "total_price": "100.00"}


@pytest.mark.parametrize(
    "tokens",
    [
        {},
        {"customer_id": "50000"},
        {"customer_id": "99999"},
        {"unit_price": "999.99", "total_price": "1999.98"},
        {"quantity": "1", "total_price": "50.00"},
        {"quantity": "5", "total_price": "250.00"},
        {"product_name": '"Skincare Bundle"', "product_category": '"Beauty & Health"'},
    ],
)
def test_enforced_ranges_accept_orders_inside(tokens: dict[str, str]) -> None:
    value = message(**IN_RANGES | tokens)
    assert outcome(value, range_check=outside_ranges) == exact_path.decode(value)
    assert outcomes([value, value], range_check=outside_ranges) == [exact_path.decode(value)] * 2


@pytest.mark.parametrize(
    "tokens",
    [
        {"customer_id": "49999"},
        {"customer_id": "100000"},
        {"unit_price": "49.99", "total_price": "99.98"},
        {"unit_price": "1000.00", "total_price": "2000.00"},
        {"quantity": "6", "total_price": "300.00"},
        {"product_name": '"Yoga mat"'},
        {"product_category": '"Electronics"'},
        {"product_name": '"Hammer"', "product_category": '"Home & Garden"'},
    ],
)
def test_enforced_ranges_reject_orders_outside(tokens: dict[str, str]) -> None:
    value, inside = message(**IN_RANGES | tokens), message(**IN_RANGES)
    assert isinstance(outcome(value), Order)
    assert outcome(value, range_check=outside_ranges) == Reason.OUTSIDE_RANGES
    assert outcomes([inside, value, inside], range_check=outside_ranges) == [
        exact_path.decode(inside),
        Reason.OUTSIDE_RANGES,
        exact_path.decode(inside),
    ]


def test_an_error_of_the_contract_is_reported_before_a_range() -> None:
    assert outcome(message(total_price="91.99"), range_check=outside_ranges) == Reason.WRONG_TOTAL


def test_the_columns_are_those_of_the_contract() -> None:
    columns = {field.name: field.sql_definition for field in DEFAULT.columns}
    assert {name: kind.removesuffix(" NOT NULL") for name, kind in columns.items()} == {
        "customer_id": "INT",
        "order_id": "VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin",  # compared byte by byte
        "product_name": "VARCHAR(255) CHARACTER SET utf8mb4",
        "product_category": "VARCHAR(100) CHARACTER SET utf8mb4",
        "unit_price": "DECIMAL(10,2)",
        "quantity": "INT",
        "total_price": "DECIMAL(10,2)",
        "order_timestamp": "DATETIME",
    }
    assert all(kind.endswith(" NOT NULL") for kind in columns.values())
    assert DEFAULT.column_names == STANDARD_FIELDS
