"""Generated orders keep the contract, bad ones break it, and the seed decides which are bad."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.contract import definition, exact_path
from orderflow.contract.catalogue import PRODUCTS
from orderflow.contract.definition import STANDARD_FIELDS
from orderflow.contract.order_ranges import outside_ranges
from orderflow.errors import RecordRejected, SettingInvalid
from orderflow.produce.generator import HIGHEST_NUMBER, Generator
from orderflow.produce.message_defects import DEFECTS, conflict
from orderflow.produce.outgoing_message import OutgoingMessage

NOON = 1_736_942_400.5  # 2025-01-15T12:00:00.5 UTC


def drawn(count: int, **options: Any) -> tuple[Generator, list[OutgoingMessage]]:
    generator = Generator(1, seed=7, partitions=3, clock=lambda: NOON, **options)
    return generator, list(islice(generator, count))


@given(seed=st.integers(), start=st.integers(1, HIGHEST_NUMBER))
def test_generated_orders_satisfy_the_contract_and_the_ranges(seed: int, start: int) -> None:
    products = {product.name: product for product in PRODUCTS}
    for number, (key, value, _) in enumerate(islice(Generator(start, seed=seed, clock=lambda: NOON), 20), start):
        order = exact_path.decode(value, range_check=outside_ranges)
        product = products[order.product_name]
        assert key == order.order_id.encode() == f"ORDER-{number:06d}".encode()
        assert order.product_category == product.category
        assert product.lowest_cents <= order.unit_price * 100 <= product.highest_cents
        assert order.order_timestamp == "2025-01-15T12:00:00"


def test_messages_spell_fields_in_order_and_prices_with_two_decimals() -> None:
    for _, value, _ in drawn(2_000)[1]:
        fields = json.loads(value or b"", parse_float=str)
        assert tuple(fields) == STANDARD_FIELDS
        assert all(len(fields[name].partition(".")[2]) == 2 for name in ("unit_price", "total_price"))


def test_every_product_quantity_and_price_end_is_drawn() -> None:
    orders = [exact_path.decode(value) for _, value, _ in drawn(20_000)[1]]
    assert {order.product_name for order in orders} == {product.name for product in PRODUCTS}
    assert {order.quantity for order in orders} == {1, 2, 3, 4, 5}
    mats = [order.unit_price for order in orders if order.product_name == "Yoga Mat"]
    assert min(mats) < Decimal(51) and max(mats) > Decimal(129)


def test_the_order_timestamp_is_the_time_of_the_clock() -> None:
    ticks = iter([NOON, NOON + 0.4, NOON + 1, NOON + 86_400])
    generator = Generator(1, clock=lambda: next(ticks))
    assert [exact_path.decode(value).order_timestamp for _, value, _ in islice(generator, 4)] == [
        "2025-01-15T12:00:00",
        "2025-01-15T12:00:00",
        "2025-01-15T12:00:01",
        "2025-01-16T12:00:00",
    ]


def test_a_seed_gives_the_same_messages() -> None:
    assert drawn(3_000, bad_share=0.1, repeat_share=0.1)[1] == drawn(3_000, bad_share=0.1, repeat_share=0.1)[1]
    assert drawn(10)[1] != list(islice(Generator(1, seed=8, clock=lambda: NOON), 10))


def test_bad_and_repeated_messages_do_not_change_the_orders() -> None:
    plain = {key: value for key, value, _ in drawn(5_000)[1]}
    _, mixed = drawn(5_000, bad_share=0.2, repeat_share=0.2)
    sound = [(key, value) for key, value, _ in mixed if plain.get(key) == value]
    assert len(sound) > 3_500


def test_every_message_is_good_bad_or_repeated() -> None:
    generator, messages = drawn(20_000, bad_share=0.1, repeat_share=0.2)
    assert generator.good_count + generator.bad_count + generator.repeat_count == 20_000
    assert generator.bad_count == pytest.approx(2_000, rel=0.1)
    assert generator.repeat_count == pytest.approx(4_000, rel=0.1)
    first: dict[str, definition.Order] = {}
    rejected = conflicts = repeated = elsewhere = 0
    for _, value, partition in messages:
        try:
            order = exact_path.decode(value, range_check=outside_ranges)
        except RecordRejected:
            rejected += 1
            continue
        if order.order_id not in first:
            first[order.order_id] = order
        elif first[order.order_id] != order:
            conflicts += 1
        else:
            repeated += 1
            elsewhere += partition >= 0
    assert (len(first), rejected + conflicts, repeated) == (
        generator.good_count,
        generator.bad_count,
        generator.repeat_count,
    )
    assert conflicts == pytest.approx(generator.bad_count / len(DEFECTS), abs=2)
    assert elsewhere == pytest.approx(repeated / 2, rel=0.1)


def test_shares_of_100_percent_do_not_hang() -> None:
    assert drawn(200, bad_share=1)[0].bad_count == 200
    assert drawn(200, repeat_share=1)[0].repeat_count == 199  # all repeat the one order that must come first


@pytest.fixture
def orders() -> Iterator[OutgoingMessage]:
    return iter(Generator(1, seed=7))


@pytest.mark.parametrize("defect", [name for name in DEFECTS if name != "conflict"])
def test_each_defect_makes_a_message_that_is_rejected(defect: str, orders: Iterator[OutgoingMessage]) -> None:
    for _, value, _ in islice(orders, 50):
        assert value is not None
        with pytest.raises(RecordRejected):
            exact_path.decode(DEFECTS[defect](value))


def test_a_conflict_differs_from_its_order_in_content_only(orders: Iterator[OutgoingMessage]) -> None:
    for _, value, _ in islice(orders, 50):
        assert value is not None
        once = conflict(value)
        twice = conflict(once)
        decoded = [exact_path.decode(text, range_check=outside_ranges) for text in (value, once, twice)]
        assert decoded[0] != decoded[1] != decoded[2]
        assert len({order.order_id for order in decoded}) == 1


def test_bad_messages_have_many_reasons(orders: Iterator[OutgoingMessage]) -> None:
    reasons = set()
    for defect in DEFECTS.values():
        try:
            exact_path.decode(defect(next(orders)[1] or b""))
        except RecordRejected as rejected:
            reasons.add(rejected.reason)
    assert len(DEFECTS) >= 25
    assert len(reasons) >= 15


def test_numbers_that_outgrow_the_order_id_are_refused() -> None:
    with pytest.raises(SettingInvalid):
        Generator(HIGHEST_NUMBER + 1)
