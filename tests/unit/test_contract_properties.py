"""For any valid contract: both paths and the reference agree on any messages, and the lines keep the values."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.contract import contract_file, exact_path, fast_path, native
from orderflow.contract.definition import DEFAULT, Contract, Field, Kind, Order
from orderflow.errors import RecordRejected
from tests.support import agreement, contracts, reference
from tests.support.corpus import CASES, TRUNCATED, Case, escaped, message
from tests.support.message_defects import DICTIONARY

VALUES = [*(case.value for case in CASES), *TRUNCATED]
FULL = """
unknown_fields = "keep"
[customer_id]
type = "string"
[order_id]
pattern = "[!-~]+"
min_length = 3
[total_price]
total = "as_sent"
[fields.debt]
type = "integer"
key = "more.debt"
minimum = -9223372036854775808
maximum = 9223372036854775807
[fields.weight]
type = "decimal"
precision = 28
scale = 0
minimum = "-9999999999999999999999999999"
[fields.dust]
type = "decimal"
precision = 18
scale = 18
json = "string"
required = false
[fields.note]
type = "json"
required = false
"""
MORE = {"customer_id": '"7"', "more": '{"debt": 1}', "weight": "2"}


def full_contract() -> Contract:
    return contract_file.read(FULL, "contract.toml")


def custom_values(value: bytes, contract: Contract) -> dict[str, object]:
    """Return the custom columns of the order, after a check that both paths and the reference agree."""
    agreement.check_values([value], contract)
    order = exact_path.decode(value, contract)
    return dict(zip((field.name for field in contract.custom_columns), order.custom_values, strict=True))


def detail_of(value: bytes, contract: Contract) -> str:
    agreement.check_values([value], contract)
    with pytest.raises(RecordRejected) as caught:
        exact_path.decode(value, contract)
    return caught.value.message


@settings(max_examples=500)
@given(st.data())
def test_any_messages_of_any_contract_are_read_alike(data: st.DataObject) -> None:
    contract = data.draw(contracts.contracts())
    agreement.check_contract(contract)
    agreement.check_values(data.draw(st.lists(contracts.messages(contract), min_size=1, max_size=8)), contract)


@settings(max_examples=400)
@given(contracts.contracts(), st.lists(st.lists(st.sampled_from(DICTIONARY), max_size=30).map(b"".join), max_size=4))
def test_any_tokens_are_read_alike(contract: Contract, values: list[bytes]) -> None:
    agreement.check_values([*values, None, b""], contract)


def test_the_fast_path_reads_most_messages_without_defects() -> None:
    """Otherwise, the tests above prove little."""
    valid = fast = 0
    for seed in range(60):
        rng = Random(seed)
        contract = contracts.random_contract(rng)
        values: list[bytes | None] = [contracts.random_message(contract, rng, defects=0) for _ in range(5)]
        valid += agreement.check_values(values, contract)
        fast += native.read(pa.array(values, pa.large_binary()), contract)[0].num_rows
    assert valid > 120 and fast > 80


def test_both_references_agree_by_the_default_contract() -> None:
    for contract in (DEFAULT, contract_file.read("", "empty.toml")):
        agreement.check_contract(contract)
        agreement.check_values(VALUES, contract)
        assert contract == DEFAULT
    for value in VALUES:
        expected, row = reference.read(value), reference.row(value, DEFAULT)
        assert (None if row is None else [*row.values.values()]) == (None if expected is None else [*expected])


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_empty_file_reads_the_corpus_like_the_default_contract(case: Case) -> None:
    [result] = fast_path.decode_values([case.value], contract_file.read("", "empty.toml")).results
    assert (result if isinstance(result, Order) else result.reason) == case.expected


def test_integers_of_more_than_20_digits_keep_their_digits() -> None:
    weight = "-1234567890123456789012345678"
    for text in (weight, f"{weight}.0", f"{weight[:-2]}.78e2"):
        assert custom_values(message(**MORE | {"weight": text}), full_contract())["weight"] == Decimal(weight)
    assert custom_values(message(**MORE | {"more": f'{{"debt": {-(2**63)}}}'}), full_contract())["debt"] == -(2**63)
    assert "is -92233720368547758081, not" in detail_of(
        message(**MORE | {"more": f'{{"debt": {-(2**63)}1}}'}), full_contract()
    )


def test_a_number_above_the_largest_decimal_has_too_many_decimals() -> None:
    for sign in ("", "-"):
        assert "more than 0 decimals" in detail_of(message(**MORE | {"weight": f"{sign}{'9' * 28}.5"}), full_contract())


def test_a_long_integer_is_shown_in_part() -> None:
    assert detail_of(message(unit_price="1" * 30), DEFAULT).startswith(f"unit_price is '{'1' * 20}', not above")
    assert detail_of(message(quantity="-" + "1" * 30), DEFAULT).startswith(f"quantity is -{'1' * 19}, not from")


def test_the_detail_calls_a_number_a_number() -> None:
    """Where a column has JSON, and where numbers are in strings."""
    assert (
        detail_of(message(**MORE | {"customer_id": "7"}), full_contract())
        == "customer_id is a JSON number, not a string"
    )
    assert (
        detail_of(message(**MORE | {"dust": "0"}), full_contract()) == "dust is a JSON number, not a number in a string"
    )


def test_an_order_id_of_the_minimum_length_is_accepted() -> None:
    assert custom_values(message(**MORE | {"order_id": '"abc"'}), full_contract())
    assert "3 to 50 printable" in detail_of(message(**MORE | {"order_id": '"ab"'}), full_contract())


def test_backslashes_of_an_order_id_are_kept() -> None:
    contract = full_contract()
    assert "order_id" in contract.free_text_columns and "order_id" not in DEFAULT.free_text_columns
    assert custom_values(message(**MORE | {"order_id": r'"\\N\\t\\"'}), contract)
    [order] = fast_path.decode_values([message(**MORE | {"order_id": r'"a\\t"'})], contract).results
    assert isinstance(order, Order) and order.order_id == r"a\t"


def test_small_decimals_are_written_without_exponent() -> None:
    contract = full_contract()
    for text in ('"0.000000000000000001"', '"0"', '"-0.0"'):
        custom_values(message(**MORE | {"dust": text}), contract)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "\0"])
def test_a_key_with_characters_that_json_escapes_takes_the_exact_path(name: str) -> None:
    field = Field(name="custom", kind=Kind.INTEGER, path=(name,))
    contract = Contract(fields=(*DEFAULT.fields, field))
    assert "JSON escapes" in native.unsupported_reason(contract)
    sample = message().decode()[:-1]
    assert custom_values(f"{sample}, {json.dumps(name)}: 1}}".encode(), contract) == {"custom": 1}
    assert custom_values(f"{sample}, {escaped(name)}: 1}}".encode(), contract) == {"custom": 1}
    assert detail_of(f'{sample}, "{name}": 1}}'.encode(), contract)
