"""The exported contract: valid by the standards' own schemas, and never stricter than the decoder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from orderflow.contract import definition, exact_path, exports
from orderflow.contract.definition import Order, Reason
from orderflow.errors import RecordRejected
from orderflow.jvm import cache
from orderflow.settings import Settings
from orderflow.store import schema
from tests.support import contracts
from tests.support.corpus import CASES, TRUNCATED, message, quoted
from tests.support.processes import run_orderflow

ASYNCAPI = "@asyncapi/specs@6.11.1"  # npm package with the meta-schemas
# Rules that JSON Schema cannot express, or that apply before a JSON parser succeeds.
BEYOND = {
    *(Reason.WRONG_TOTAL, Reason.EXCESS_SCALE, Reason.DUPLICATE_KEY, Reason.INVALID_TEXT, Reason.TOO_DEEP),
    *(Reason.OVERSIZED_VALUE, Reason.BYTE_ORDER_MARK, Reason.INVALID_TIMESTAMP, Reason.WRONG_TYPE),
}


def _matches(_validator: Any, pattern: str, text: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    # Python's $ also matches before a final line break, but $ in JSON Schema does not.
    if isinstance(text, str) and not re.search(pattern.replace("$", r"\Z"), text):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern}")


SCHEMA = exports.json_schema()
VALIDATOR = jsonschema.validators.extend(Draft202012Validator, {"pattern": _matches})(SCHEMA)


def accepts(value: bytes, **numbers: Any) -> bool:
    """Return whether a user of the schema accepts the message, with numbers read as floats by default."""
    numbers["parse_int"] = lambda digits: int(digits[:20])  # Python refuses to read more than 4,300 digits
    numbers["parse_constant"] = int  # NaN is neither JSON nor an int
    try:
        return bool(VALIDATOR.is_valid(json.loads(value.decode(), **numbers)))
    except (ValueError, RecursionError):
        return False


def outcome_of(value: bytes) -> Order | Reason:
    try:
        return exact_path.decode(value)
    except RecordRejected as rejected:
        return Reason(rejected.reason)


def test_the_schema_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert [*SCHEMA["properties"]] == SCHEMA["required"] == [*definition.STANDARD_FIELDS]


def test_the_schema_accepts_what_the_decoder_accepts_of_the_corpus() -> None:
    accepted_reasons: set[Reason] = set()
    values = [case.value for case in CASES if case.value is not None]
    for value, outcome in ((value, outcome_of(value)) for value in (*values, *TRUNCATED)):
        if isinstance(outcome, Order):
            assert accepts(value) and accepts(value, parse_float=Decimal), value[:500]
        elif accepts(value):
            accepted_reasons.add(outcome)
    assert accepted_reasons <= BEYOND


@given(
    st.builds(
        message,
        customer_id=st.integers(-1, 2**32).map(str),
        quantity=st.sampled_from(["1", "2", "3", "0", "2.5", "2147483648", "null", '"2"']),
        unit_price=st.decimals(0, 10**9, places=2).map(str),
        total_price=st.decimals(0, 10**9, places=2).map(str),
        product_name=st.text(st.characters(codec="utf-8"), max_size=300).map(quoted),
        order_id=st.from_regex(r"ORDER-[0-9]{4,8}", fullmatch=True).map(quoted),
        order_timestamp=st.datetimes().map(lambda time: quoted(time.isoformat(timespec="seconds"))),
    )
)
def test_the_schema_is_as_strict_as_json_schema_allows(value: bytes) -> None:
    if (outcome := outcome_of(value)) not in BEYOND:
        assert accepts(value) == isinstance(outcome, Order), outcome


@given(st.decimals("0.01", "99999999.99", places=2), st.integers(1, 9))
def test_the_schema_accepts_exactly_the_valid_prices(price: Decimal, quantity: int) -> None:
    value = message(unit_price=str(price), quantity=str(quantity), total_price=str(price * quantity))
    assert accepts(value) == isinstance(outcome_of(value), Order)


def test_rules_beyond_json_schema_are_in_the_comment() -> None:
    for value in (
        message(total_price="91.99"),
        message(unit_price="45.991"),
        message(quantity="2.0"),
        message(order_timestamp='"2025-02-30T00:00:00"'),
        message(product_name=r'"\ud800"'),
        b'{"quantity": 2, ' + message()[1:],
    ):
        assert accepts(value) and outcome_of(value) in BEYOND
    for words in (
        "unit_price × quantity",
        "no more decimals than their columns",
        "date exists",
        "not 2.0",
        "surrogate",
        "no key occurs twice",
    ):
        assert words in SCHEMA["$comment"]


@given(st.integers(0, 2**64 - 1))
def test_the_schema_of_any_contract_accepts_its_orders(seed: int) -> None:
    rng = Random(seed)
    contract = contracts.random_contract(rng)
    schema = exports.json_schema(contract)
    Draft202012Validator.check_schema(schema)
    validator = jsonschema.validators.extend(Draft202012Validator, {"pattern": _matches})(schema)
    for value in [contracts.random_message(contract, rng, 1) for _ in range(10)]:
        try:
            exact_path.decode(value, contract)
        except RecordRejected:
            continue
        document = json.loads(value.decode(), parse_int=lambda digits: int(digits[:40]))
        assert validator.is_valid(document), [*validator.iter_errors(document)]


@pytest.fixture(scope="module")
def asyncapi_meta_schema() -> Any:
    if not shutil.which("npm"):
        pytest.skip("no npm, which downloads AsyncAPI's meta-schema")
    name = ASYNCAPI.replace("/", "-")
    path = cache.get_or_create(name, _pack) / "package/schemas/3.0.0-without-$id.json"
    return json.loads(path.read_text("utf-8"))


def _pack(folder: Path) -> None:
    subprocess.run(["npm", "pack", "--silent", ASYNCAPI], cwd=folder, check=True, capture_output=True)
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def test_the_document_is_valid_asyncapi(asyncapi_meta_schema: Any) -> None:
    settings = Settings(
        kafka_bootstrap_servers="a:9092, b:9092", kafka_security_protocol="SASL_SSL", kafka_topic="shop"
    )
    document = exports.asyncapi(settings)
    assert [error.message for error in Draft7Validator(asyncapi_meta_schema).iter_errors(document)] == []
    del document["channels"]["orders"]["messages"]["order"]["$ref"]
    document["operations"]["storeOrder"]["action"] = "store"
    assert len([*Draft7Validator(asyncapi_meta_schema).iter_errors(document)]) == 1


def test_the_asyncapi_document_names_servers_topic_and_payload() -> None:
    settings = Settings(
        kafka_bootstrap_servers="a:9092, b:9092", kafka_security_protocol="SASL_SSL", kafka_topic="shop"
    )
    document = exports.asyncapi(settings)
    assert [*document["servers"].values()] == [
        {"host": "a:9092", "protocol": "kafka-secure"},
        {"host": "b:9092", "protocol": "kafka-secure"},
    ]
    assert document["channels"]["orders"]["address"] == "shop"
    for reference in re.findall(r'"\$ref": "#/(.*?)"', json.dumps(document)):
        target: Any = document
        for step in reference.split("/"):
            target = target[step]
    payload = document["components"]["messages"]["order"]["payload"]
    assert {"$schema": SCHEMA["$schema"], **payload} == SCHEMA


def test_the_command_prints_every_format(tmp_path: Path) -> None:
    printed = {name: run_orderflow("contract", "--format", name, cwd=tmp_path, MYSQL_TABLE="shop") for name in
               ("json-schema", "asyncapi", "sql")}  # fmt: skip
    assert json.loads(printed["json-schema"].stdout) == SCHEMA
    assert json.loads(printed["asyncapi"].stdout) == exports.asyncapi(Settings())
    settings = msgspec.structs.replace(Settings(), mysql_table="shop")
    for step in schema.all_steps(settings):
        assert schema.statement_of(step, settings) in printed["sql"].stdout
