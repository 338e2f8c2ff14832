"""Generated orders of contract files: every one is valid, every bad one is not, and what is impossible is reported."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from orderflow.contract import contract_file, exact_path, loader
from orderflow.contract.definition import DEFAULT, Contract
from orderflow.contract.order_ids import OrderIds
from orderflow.errors import ContractInvalid, RecordRejected, SettingInvalid
from orderflow.produce import contract_orders, numbering
from orderflow.produce.generator import Generator
from orderflow.produce.message_defects import defects_of
from orderflow.settings import Settings
from orderflow.topic import Record
from tests.support import shop
from tests.support.processes import run_orderflow

NOON = 1_736_942_400.25  # 2025-01-15T12:00:00.25 UTC
POSSIBLE = [
    shop.TEXT,
    '[order_id]\ntype = "integer"\njson = "string"',
    '[order_id]\nkey = "a.b"\npattern = ""\nexamples = ["x"]',
    '[order_timestamp]\nformat = "epoch_ms"\n[customer_id]\nminimum = 1\nmaximum = 9223372036854775807',
    '[order_timestamp]\ndigits = 6\n[total_price]\nminimum = 1000\ntotal = "computed"',
    '[customer_id]\ntype = "string"\nvalues = ["a", "b"]\n[unit_price]\nminimum = 2000',
    '[quantity]\nfixed = 3\n[unit_price]\nfixed = "9.99"\n[product_name]\nfixed = "Ticket"',
    '[product_name]\nmax_length = 8\n[product_category]\nexamples = ["A", "B"]\nmax_length = 2',
    '[product_category]\nrequired = false\ndefault = "none"\n[quantity]\nminimum = 10\njson = "string"',
    '[fields.e]\ntype = "decimal"\nexamples = [1.5, "2"]\njson = "string"\n[fields.j]\ntype = "json"\nexamples = [5]',
    '[fields.d]\ntype = "decimal"\nprecision = 28\nscale = 18\nminimum = "1000000000"\n[fields.t]\ntype = "timestamp"',
    '[fields.s]\ntype = "string"\nmin_length = 30\nmax_length = 40\n[fields.i]\ntype = "integer"\nminimum = 1000000',
]


def contract_of(text: str) -> Contract:
    return contract_file.read(text, "contract.toml")


@pytest.mark.parametrize("text", POSSIBLE)
def test_each_order_is_valid_and_each_bad_one_is_not(text: str) -> None:
    contract = contract_of(text)
    contract_orders.check(contract)
    ids = OrderIds(contract)
    for number, (key, value, _) in enumerate(islice(Generator(1, seed=7, contract=contract), 300), 1):
        order = exact_path.decode(value, contract)
        assert value and key == order.order_id.encode() == ids.make(number).encode()
        if number > 20:
            continue
        for name, defect in defects_of(contract).items():
            if name == "conflict":
                conflicting = exact_path.decode(defect(value), contract)
                assert conflicting.order_id == order.order_id and conflicting != order
            else:
                with pytest.raises(RecordRejected):
                    exact_path.decode(defect(value), contract)


def test_fields_are_at_their_paths_in_their_formats() -> None:
    clock = lambda: NOON  # noqa: E731
    values = [
        json.loads(value or b"")
        for _, value, _ in islice(Generator(1, seed=7, contract=shop.CONTRACT, clock=clock), 200)
    ]
    for value in values:
        assert value["customer"]["id"].startswith("C-")
        assert isinstance(value["item"]["price"], str) and isinstance(value["item"]["quantity"], int)
        assert value["placedAt"] == "2025-01-15T12:00:00.250Z" and value["paid_at"] == "1736942400250"
        assert "product_category" not in value
    assert {value["channel"] for value in values} == {"web", "store"}
    assert {value["gift"] for value in values} == {True, False}
    assert {value["points"] for value in values} == {1, 2, 3}
    assert {"coupon" in value["meta"] for value in values} == {True, False}
    assert {"extra" in value for value in values} == {True, False}


def test_a_seed_gives_the_same_messages_with_bad_and_repeated_ones() -> None:
    def drawn() -> list[object]:
        generator = Generator(
            1, seed=3, bad_share=0.2, repeat_share=0.2, partitions=3, clock=lambda: NOON, contract=shop.CONTRACT
        )
        messages = list(islice(generator, 2_000))
        assert generator.good_count + generator.bad_count + generator.repeat_count == 2_000
        return [*messages]

    assert drawn() == drawn()


def test_the_default_contract_from_a_file_changes_nothing() -> None:
    same = islice(Generator(1, seed=7, clock=lambda: NOON, contract=contract_of("")), 100)
    assert list(same) == list(islice(Generator(1, seed=7, clock=lambda: NOON), 100))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[order_id]\npattern = "PO-[0-9]+"', "order_id"),
        ('[order_id]\nkey = "id"\nmax_length = 8', "id"),
        ('[fields.sku]\ntype = "string"\npattern = "[A-Z]{3}"', "sku"),
        ('[customer_id]\ntype = "string"\npattern = "[0-9]+"', "customer_id"),
        ("[product_name]\nmax_length = 3", "product_name"),
        ("[total_price]\nmaximum = 10", "total_price"),
    ],
)
def test_orders_that_cannot_be_generated_are_reported_before_the_start(text: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid, match=f"can be generated: {field} ") as caught:
        contract_orders.check(contract_of(text))
    assert "examples" in caught.value.hint
    if field == "sku":
        (tmp_path / "contract.toml").write_text(text)
        for command in (["produce"], ["up", "--engine", "direct", "--orders", "5"]):
            result = run_orderflow(
                *command,
                cwd=tmp_path,
                ORDER_CONTRACT="contract.toml",
                KAFKA_BOOTSTRAP_SERVERS="localhost:1",
                MYSQL_HOST="localhost",
            )
            assert result.returncode == 2
            assert "error: No order of the contract" in result.stderr and "sku is 'sku-" in result.stderr


def test_a_number_that_outgrows_the_pattern_stops_the_generator() -> None:
    contract = contract_of('[order_id]\npattern = "N[0-9]{3}"\nexamples = ["N001"]')
    messages = iter(Generator(998, contract=contract))
    assert [next(messages)[0], next(messages)[0]] == [b"N998", b"N999"]
    with pytest.raises(ContractInvalid, match="order_id is 'N1000'"):
        next(messages)


@pytest.mark.parametrize(
    ("text", "number", "order_id"),
    [
        ("", 123, "ORDER-000123"),
        ("", 12_345_678, "ORDER-12345678"),
        (shop.TEXT, 8, "PO-2025-008"),
        (shop.TEXT, 12_345, "PO-2025-12345"),
        ('[order_id]\npattern = ""\nexamples = ["A7-x"]', 10, "A10-x"),
        ('[order_id]\ntype = "integer"\nexamples = [1000]', 7, "7"),
    ],
)
def test_an_id_is_created_from_its_number_and_parsed_back(text: str, number: int, order_id: str) -> None:
    ids = OrderIds(contract_of(text))
    assert ids.make(number) == order_id and ids.is_valid(order_id)
    assert ids.number_of(order_id.encode()) == number
    for other in (b"", b"x", b"ORDER-99999", b"PO-2025-08", b"\xff", order_id.encode() + b" "):
        assert ids.number_of(other) is None


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("", ["ORDER-000001"], ["ORDER-1", "order-000001", "ORDER-000001 ", "1", ""]),
        ('[order_id]\npattern = ""\nmax_length = 5', ["a", "../b", "12345"], ["", "a b", "\u00e9", "123456", "a\n"]),
        ('[order_id]\ntype = "integer"\nmaximum = 99', ["0", "99"], ["01", "100", "-1", "1.0", "x"]),
    ],
)
def test_only_texts_that_match_the_contract_are_order_ids(text: str, good: list[str], bad: list[str]) -> None:
    ids = OrderIds(contract_of(text))
    assert [order_id for order_id in [*good, *bad] if ids.is_valid(order_id)] == good


def test_numbers_are_read_from_keys_and_valid_orders() -> None:
    ids = OrderIds(shop.CONTRACT)

    def number(key: bytes | None, value: bytes | None) -> int:
        return numbering._number(Record(0, 0, 0, key, value), shop.CONTRACT, ids)

    assert number(b"PO-2025-0777", None) == 777
    assert number(b"some key", shop.VALUE) == number(None, shop.VALUE) == 123
    assert number(b"ORDER-000009", shop.VALUE[:-1]) == 0


def test_enforced_ranges_exclude_a_contract_file() -> None:
    settings = Settings(order_contract="shop.toml", order_contract_text=shop.TEXT, order_ranges="enforce")
    with pytest.raises(SettingInvalid, match="ORDER_RANGES=enforce"):
        loader.contract_of(settings)
    assert loader.contract_of(msgspec.structs.replace(settings, order_contract_text="")) == DEFAULT
