"""Contract files: each wrong key is reported with file, line and fix, and the example contracts do what they show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from orderflow.contract import contract_file, definition, fast_path, field_table, native, patterns
from orderflow.contract.changes import changes
from orderflow.contract.definition import DEFAULT, Contract, Reason
from orderflow.contract.exact_path import read_exactly
from orderflow.errors import ContractInvalid, RecordRejected
from tests.support.corpus import SAMPLE

EXAMPLES = Path(__file__).parents[2] / "examples/contracts"
NAMES = ("shopify-like", "woocommerce-like", "line-items")

# The text, the number of the line, a part of the sentence, and a part of the fix.
WRONG = [
    ("[customer_id", 1, "is not TOML", "docs/contract.md"),
    ("colour = 1", 1, "the key 'colour' is unknown", "Use: customer_id, fields"),
    ("#\nunknown_fields = 'drop'", 2, "unknown_fields is 'drop'", "ignore, keep, reject"),
    ("unknown_fields = []", 1, "unknown_fields is []", "ignore, keep, reject"),
    ("customer_id = 5", 1, "customer_id is not a table", "Write [customer_id]"),
    ("fields = 3", 1, "fields is not a table", "[fields.NAME]"),
    ("[fields]\na = 1", 2, "fields.a is not a table", "Write [fields.a]"),
    # Standard fields.
    ("[customer_id]\ncolumn = 'x'", 2, "'column' is unknown in [customer_id]", "Use: default"),
    ("[customer_id]\ntype = 'decimal'", 2, "type is 'decimal'", "integer, string"),
    ("[customer_id]\nkey = ''", 2, "key is ''", '"customer.id"'),
    ("[customer_id]\nkey = ['a', 1]", 2, "key is ['a', 1]", '["a.b"]'),
    ("[customer_id]\nkey = 'a..b'", 2, "key is 'a..b'", '["a.b"]'),
    ("[customer_id]\nminimum = 'one'", 2, "minimum is 'one', not an integer", "an integer"),
    ("[customer_id]\nminimum = 1.5", 2, "minimum is 1.5, not an integer", "an integer"),
    ("[customer_id]\nmaximum = 9223372036854775808", 2, "maximum is 9223372036854775808", "9,223,372,036,854,775,807"),
    ("[customer_id]\nminimum = 10\nmaximum = 5", 2, "minimum exceeds maximum", "Lower minimum"),
    ("[customer_id]\njson = 'text'", 2, "json is 'text'", "number, string, any"),
    ("[customer_id]\nrequired = 'no'", 2, "required is 'no'", "true or false"),
    ("[customer_id]\nrequired = false", 2, "customer_id is optional and has no default", "Add default"),
    ("[customer_id]\ndefault = 0", 2, "default is 0, not from 1", "Change default"),
    ("[customer_id]\ndefault = 5\nrequired = true", 3, "a required field has no default", "Remove required or"),
    ("[customer_id]\nexamples = []", 2, "examples is []", "a list"),
    ("[customer_id]\nexamples = [1, 0]", 2, "a value of examples is 0, not from 1", "Change examples"),
    ("[customer_id]\ntype = 'string'\nmax_length = 300", 3, "max_length is 300", "1 to 255"),
    ("[order_id]\nrequired = false", 2, "'required' is unknown in [order_id]", "Use: examples"),
    ("[order_id]\npattern = '^A$'", 2, "^ and $ are not needed", "a regular expression"),
    ("[order_id]\npattern = '\\d+'", 2, "\\d has several meanings", "[0-9]"),
    ("[order_id]\npattern = '[0-9'", 2, "the pattern [0-9 cannot be used", "classes"),
    ("[order_id]\npattern = 5", 2, "pattern is 5, not a text", "Write a text"),
    ("[order_id]\nmax_length = 51", 2, "max_length is 51", "1 to 50"),
    (
        "[order_id]\npattern = 'A[0-9]+'\nexamples = ['B1']",
        3,
        "a value of examples is 'B1', not of the pattern",
        "Change",
    ),
    ("[product_name]\nmin_length = 20\nmax_length = 10", 2, "min_length exceeds max_length", "Lower min_length"),
    ("[order_id]\nvalues = 'a'", 2, "values is 'a'", "a list of texts"),
    ("[product_name]\nmin_length = -1", 2, "min_length is -1", "0 to 100,000"),
    ("[product_name]\nmax_length = 'long'", 2, "max_length is 'long', not an integer", "an integer"),
    ("[product_category]\nmax_length = 101", 2, "max_length is 101", "1 to 100"),
    ("[product_category]\nfixed = ''", 2, "fixed has 0 characters", "Change fixed"),
    ("[product_category]\nfixed = 'a'\nkey = 'x'", 2, "fixed excludes key", "Keep only fixed"),
    ("[product_category]\nvalues = ['a', '']", 2, "a value of values has 0 characters", "Change values"),
    ("[unit_price]\nprecision = 12", 2, "'precision' is unknown in [unit_price]", "Use: fixed"),
    ("[unit_price]\nminimum = 0.001", 2, "minimum is 0.001", "at most 2 decimals"),
    ("[unit_price]\nmaximum = 100000000", 2, "maximum is 100000000, which has too many digits", "10 digits."),
    ("[unit_price]\nfixed = 0", 2, "fixed is '0', not above 0", "Change fixed"),
    ("[quantity]\nmaximum = 2147483648", 2, "maximum is 2147483648", "to 2,147,483,647"),
    ("[quantity]\nfixed = 'two'", 2, "fixed is the string 'two'", "Change fixed"),
    ("[total_price]\ntotal = 'wrong'", 2, "total is 'wrong'", "checked, computed, as_sent"),
    ("[total_price]\nrequired = false", 2, "'required' is unknown", "total"),
    ("[order_timestamp]\nformat = 'iso'", 2, "format is 'iso'", "utc, rfc3339, epoch_ms"),
    ("[order_timestamp]\ndigits = 7", 2, "digits is 7", "0 to 6"),
    ("[order_timestamp]\njson = 'string'", 2, "json applies only to numbers", 'format = "epoch_ms"'),
    ("[order_timestamp]\nkey = 'customer_id.at'", 2, "customer_id is read as a field, and as an object", "not both"),
    # Custom fields.
    ("[fields.Currency]\ntype = 'string'", 1, "'Currency' cannot be a column", "lower-case"),
    ("[fields.order_id]\ntype = 'string'", 1, "order_id is a column of OrderFlow", "Write [order_id]"),
    ("[fields.stored_at]\ntype = 'string'", 1, "stored_at is a column of OrderFlow", "another name"),
    ("[fields.currency]\nkey = 'c'", 1, "currency has no type", "string, integer, decimal"),
    ("\n[fields.a.b]\ntype = 'string'", 2, "a has no type", "Add type"),
    ("[fields.currency]\ntype = 'text'", 2, "type is 'text'", "string, integer"),
    ("[fields.currency]\ntype = 'string'\nlenght = 3", 3, "'lenght' is unknown in [fields.currency]", "max_length"),
    ("[fields.currency]\ntype = 'string'\nscale = 3", 3, "'scale' is unknown", "max_length"),
    ("[fields.note]\ntype = 'string'\nfixed = 'x'", 3, "'fixed' is unknown", "default"),
    ("[fields.note]\ntype = 'string'\ncomment = '100 %'", 3, "comment cannot be a column's", "percent sign"),
    ("[fields.note]\ntype = 'string'\ncomment = 5", 3, "comment is 5", "Write a text"),
    (
        "[fields.size]\ntype = 'string'\nmax_length = 2\nvalues = ['S', 'XXL']",
        4,
        "a value of values has 3",
        "Change values",
    ),
    ("[fields.size]\ntype = 'integer'\nminimum = 5\ndefault = 3", 4, "default is 3, not from 5", "Change default"),
    ("[fields.tax]\ntype = 'decimal'\nprecision = 29", 3, "precision is 29", "1 to 28"),
    ("[fields.tax]\ntype = 'decimal'\nprecision = 4\nscale = 5", 4, "scale is 5", "0 to 4"),
    ("[fields.tax]\ntype = 'decimal'\nscale = 3\nmaximum = 1.0001", 4, "maximum is 1.0001", "3 decimals"),
    ("[fields.tax]\ntype = 'decimal'\nminimum = nan", 3, "minimum is NaN", "Write a number"),
    (
        "[fields.tax]\ntype = 'decimal'\nprecision = 2\nmaximum = 1",
        4,
        "maximum is 1, which has too many",
        "raise precision",
    ),
    ("[fields.tax]\ntype = 'decimal'\ndefault = true", 3, "default is true", "of the type decimal"),
    ("[fields.extra]\ntype = 'json'\nmax_bytes = 2000000", 3, "max_bytes is 2000000", "1 to 1,048,576"),
    ("[fields.gift]\ntype = 'boolean'\ndefault = 'yes'", 3, "default is 'yes'", "of the type boolean"),
    ("[fields.paid_at]\ntype = 'timestamp'\ndefault = 'today'", 3, "default is 'today', not a real", "Change default"),
    ("[fields]\na = {type = 'string', max_length = 0}", 2, "max_length is 0", "1 to 100,000"),
    (
        "[fields.a]\ntype = 'json'\nkey = 'b'\n[fields.c]\ntype = 'string'\nkey = 'b.c'",
        6,
        "b is read as a field, and",
        "not both",
    ),
    ("\n".join(f"fields.f{n} = {{type = 'string'}}" for n in range(70)), 1, "a row would have up to", "above 1000"),
    (
        "\n".join(f"fields.f{n} = {{type = 'boolean'}}" for n in range(201)),
        1,
        "more than 200 custom fields",
        "type json",
    ),
]


@pytest.mark.parametrize(("text", "line", "sentence", "fix"), WRONG, ids=[row[0][:60] for row in WRONG])
def test_a_wrong_key_is_reported_with_its_line(text: str, line: int, sentence: str, fix: str) -> None:
    with pytest.raises(ContractInvalid) as error:
        contract_file.read(text, "shop.toml")
    assert sentence in error.value.message and fix in error.value.hint
    assert re.search(rf"\bline {line}\b", error.value.message)
    assert error.value.message.startswith("The contract file shop.toml, line ")


def test_the_wrong_values_cover_every_key() -> None:
    keys = {key for names in field_table.KIND_KEYS.values() for key in names} | contract_file.CUSTOM_KEYS
    keys |= {key for names, _ in contract_file.STANDARD_KEYS.values() for key in names}
    wrong_texts = "\n".join(text for text, *_ in WRONG)
    assert [key for key in keys if f"{key} = " not in wrong_texts] == []


def test_texts_of_a_caseless_pattern_do_not_differ_only_in_capitals() -> None:
    for pattern in ("ORDER-[0-9]{6,44}", "#[0-9]+", r"\.[0-9]", "[0-9a-f]{8}", "Shop-[0-9]+", "(?:AB|CD)-[0-9]"):
        assert patterns.is_caseless(pattern), pattern
    for pattern in (".", "[!-~]+", "[0-z]", "a|A", "[^a-z]x", "[]a]A", r"\[a-c\]A", r"[\]a-z]+X"):
        assert not patterns.is_caseless(pattern), pattern


def example(name: str) -> tuple[Contract, list[bytes]]:
    path = EXAMPLES / f"{name}.toml"
    lines = path.with_suffix(".jsonl").read_bytes().splitlines()
    return contract_file.read(path.read_text("utf-8"), str(path)), lines


@pytest.mark.parametrize("name", NAMES)
def test_the_samples_of_the_examples_are_accepted_on_both_paths(name: str) -> None:
    contract, samples = example(name)
    orders = [read_exactly(sample, contract)[0] for sample in samples]
    assert fast_path.decode_values(samples, contract).results == orders
    assert native.unsupported_reason(contract) == ""
    if native.IS_COMPILED:
        fast, _ = native.read(pa.array(samples, pa.large_binary()), contract)
        assert fast.num_rows == len(samples) >= 20


BROKEN: list[tuple[str, dict[str, Any], Reason]] = [
    ("shopify-like", {"name": "1001"}, Reason.INVALID_ORDER_ID),
    ("shopify-like", {"total_price": "1.00"}, Reason.WRONG_TOTAL),
    ("shopify-like", {"price": 34.5}, Reason.WRONG_TYPE),
    ("shopify-like", {"created_at": "2025-03-01T08:00:00"}, Reason.INVALID_TIMESTAMP),
    ("shopify-like", {"source_name": "fax"}, Reason.INVALID_VALUE),
    ("shopify-like", {"customer": None}, Reason.NULL_FIELD),
    ("woocommerce-like", {"id": "727"}, Reason.WRONG_TYPE),
    ("woocommerce-like", {"customer_id": -1}, Reason.OUT_OF_RANGE),
    ("woocommerce-like", {"shipping_total": "4.905"}, Reason.EXCESS_SCALE),
    ("line-items", {"coupon": "X"}, Reason.UNKNOWN_FIELD),
    ("line-items", {"customer": {"ref": "1201"}}, Reason.INVALID_VALUE),
    ("line-items", {"lineItems": ["x" * 100_000]}, Reason.WRONG_LENGTH),
]


@pytest.mark.parametrize(("name", "change", "reason"), BROKEN)
def test_a_broken_sample_is_rejected_for_its_reason(name: str, change: dict[str, Any], reason: Reason) -> None:
    contract, samples = example(name)
    value = json.dumps(json.loads(samples[0]) | change).encode()
    with pytest.raises(RecordRejected) as rejected:
        read_exactly(value, contract)
    assert rejected.value.reason == reason
    [result] = fast_path.decode_values([value], contract).results
    assert isinstance(result, RecordRejected) and result.reason == reason


def test_the_default_example_shows_the_defaults() -> None:
    text = (EXAMPLES / "default.toml").read_text("utf-8")
    assert contract_file.read(text, "default.toml") == DEFAULT
    contract = contract_file.read(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE), "default.toml")
    assert [*changes(DEFAULT, contract)] == []
    keys = {
        name: {*re.findall(r"^# (\w+) = ", part, re.MULTILINE)}
        for name, part in re.findall(r"^# \[(\w+)\]\n((?:# .*\n)*)", text, re.MULTILINE)
    }
    assert [*keys] == [field.name for field in DEFAULT.fields]
    assert (
        msgspec.structs.replace(contract.by_name["order_id"], meaning=DEFAULT.by_name["order_id"].meaning)
        == (DEFAULT.by_name["order_id"])
    )
    assert read_exactly(SAMPLE, contract)[0].order_id == "ORDER-000001"


def test_the_page_names_every_key() -> None:
    page = (EXAMPLES.parents[1] / "docs/contract.md").read_text("utf-8")
    for name in (
        *definition.STANDARD_FIELDS,
        *contract_file.CUSTOM_KEYS,
        *(key for keys in field_table.KIND_KEYS.values() for key in keys),
    ):
        assert f"`{name}`" in page or f"[{name}]" in page, name
