"""`orderflow contract infer` and `check`: what is inferred from samples, and what the commands print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from typer.testing import CliRunner, Result

from orderflow import cli
from orderflow.contract import contract_file, infer
from orderflow.contract.definition import DEFAULT, Contract, Field, Reason
from orderflow.contract.exact_path import read_exactly
from orderflow.contract.patterns import check, matcher
from orderflow.errors import InputInvalid, RecordRejected
from orderflow.produce import files
from tests.support.processes import ROOT, run_orderflow

EXAMPLES = ROOT / "examples/contracts"
ORDER = {
    "customer_id": 5,
    "order_id": "ORDER-000001",
    "product_name": "Mat",
    "product_category": "Toys",
    "unit_price": 2.5,
    "quantity": 2,
    "total_price": 5.0,
    "order_timestamp": "2025-01-15T14:30:45",
}
FieldsOf = Callable[[int], dict[str, Any]]


def samples(fields_of: FieldsOf, count: int = 30) -> list[bytes]:
    return [json.dumps({**ORDER, "order_id": f"ORDER-{n:06d}", **fields_of(n)}).encode() for n in range(count)]


def inferred(values: Sequence[bytes]) -> tuple[str, Contract]:
    text = infer.infer(infer.of_json(values), "samples.jsonl")
    return text, contract_file.read(text, "inferred.toml")


def infer_custom_field(fields_of: FieldsOf) -> tuple[str, Field]:
    """Return the text and the field of the only custom field of these samples; all samples must be accepted."""
    values = samples(fields_of)
    text, contract = inferred(values)
    for value in values:
        read_exactly(value, contract)
    assert "It accepts 30 of 30 samples." in text
    [field] = contract.custom_columns
    return text, field


def test_the_default_messages_give_the_default_contract() -> None:
    text, contract = inferred(samples(lambda n: {}))
    assert contract == DEFAULT
    assert text.count("# as in the default contract") == 6


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("currency", lambda n: "EUR", "VARCHAR(20)"),
        ("note", lambda n: "x" * 120, "VARCHAR(255)"),
        ("note", lambda n: "x" * 3000, "MEDIUMTEXT"),
        ("count2", lambda n: n - 3, "INT"),
        ("ref", lambda n: 7_300_000_000_000 + n, "BIGINT"),
        ("loss", lambda n: -7_300_000_000_000 + n, "BIGINT"),
        ("weight", lambda n: 1.125 if n else 7, "DECIMAL(10,3)"),
        ("change", lambda n: -0.5, "DECIMAL(10,2)"),
        ("tax", lambda n: "1234567890.50", "DECIMAL(15,2)"),
        ("gift", lambda n: n % 2 == 0, "TINYINT"),
        ("paid_at", lambda n: "2025-01-15T14:30:45.125+02:00", "DATETIME(3)"),
        ("paid_at", lambda n: "2025-01-15T14:30:45", "DATETIME"),
        ("paid_at", lambda n: "2025-01-15T14:30:45.123456", "DATETIME(6)"),
        ("paidAt", lambda n: 1_746_000_000_000 + n, "DATETIME(3)"),
        ("zip", lambda n: f"0{n:04d}", "VARCHAR(20)"),
        ("tags", lambda n: ["a", n], "MEDIUMTEXT"),
        ("address", lambda n: {"city": "Gent", "lines": [1]}, "MEDIUMTEXT"),
        ("mixed", lambda n: n if n % 2 else "x", "MEDIUMTEXT"),
        ("huge", lambda n: 10**25, "DECIMAL(28,2)"),
        ("huge", lambda n: 10**40, "MEDIUMTEXT"),
    ],
)
def test_a_custom_field_gets_the_type_of_its_values(name: str, value: Callable[[int], Any], expected: str) -> None:
    _, field = infer_custom_field(lambda n: {name: value(n)})
    assert field.sql_type.removesuffix(" CHARACTER SET utf8mb4") == expected
    assert field.required


@pytest.mark.parametrize("absent", [{}, {"note": None}])
def test_a_field_that_some_samples_lack_is_optional(absent: dict[str, Any]) -> None:
    text, field = infer_custom_field(lambda n: {"note": "x"} if n % 3 else absent)
    assert not field.required
    assert "required = false   # missing or null in 10 of 30 samples" in text


def test_a_few_texts_are_suggested_and_are_not_a_rule() -> None:
    text, field = infer_custom_field(lambda n: {"channel": ["web", "store"][n % 2]})
    assert '# values = ["store", "web"]   # all texts of 30 samples' in text
    assert field.values == ()


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("shippingCountry", "shipping_country"),
        ("x.y", "x_y"),
        ("2nd line", "field_2_nd_line"),
        ("stored_at", "message_stored_at"),
        ("日本", "field"),
        ("a\x7f\"'\\", "a"),
        ("a\x9b\u202e", "a"),
        ("Größe (cm)", "groe_cm"),
    ],
)
def test_a_column_name_is_derived_from_its_key(key: str, name: str) -> None:
    _, field = infer_custom_field(lambda n: {key: "x"})
    assert (field.name, field.path) == (name, (key,))


def test_two_keys_with_one_name_get_two_columns() -> None:
    _, contract = inferred(samples(lambda n: {"a_b": 1, "aB": 2, "": 3}))
    assert [(field.name, field.path) for field in contract.custom_columns] == [("a_b", ("a_b",)), ("a_b_2", ("aB",))]


def test_keys_in_objects_and_with_other_names_are_found() -> None:
    values = [
        json.dumps(
            {
                "id": 450_789_469 + n,
                "name": f"#{1001 + n}",
                "createdAt": "2025-01-15T14:30:45+01:00",
                "customer": {"id": 5_500_000_000_000 + n, "email": "ann@example.org"},
                "product": {"title": "Mug", "type": "Kitchen"},
                "price": {"amount": "12.50", "currency": "EUR"},
                "qty": n % 3 + 1,
                "total": f"{12.5 * (n % 3 + 1):.2f}",
            }
        ).encode()
        for n in range(30)
    ]
    text, contract = inferred(values)
    assert {field.name: field.key for field in contract.fields} == {
        "customer_id": "customer.id",
        "order_id": "id",
        "product_name": "product.title",
        "product_category": "product.type",
        "unit_price": "price.amount",
        "quantity": "qty",
        "total_price": "total",
        "order_timestamp": "createdAt",
        "name": "name",
        "customer_email": "customer.email",
        "price_currency": "price.currency",
    }
    assert '# also possible: key = "name"' in text
    assert "It accepts 30 of 30 samples." in text
    assert (contract.total, contract.by_name["total_price"].json) == ("checked", "string")


def test_totals_decide_between_keys_with_similar_names() -> None:
    _, contract = inferred(samples(lambda n: {"price": 3.0, "amount": 7.5, "units": 3} | {"unit_price": "none"}))
    assert contract.by_name["unit_price"].key == "price"


def test_a_total_that_differs_is_taken_as_sent() -> None:
    text, contract = inferred(samples(lambda n: {"total_price": 5.0 + (n == 7)}))
    assert contract.total == "as_sent"
    assert "Not unit_price × quantity in 1 of 30 samples; sample 8: 2.5 × 2 is not 6.0." in text


def test_a_missing_total_is_computed_and_missing_texts_have_defaults() -> None:
    def fields_of(n: int) -> dict[str, Any]:
        return {"total_price": None, "product_category": "Toys" if n % 4 else None, "customer_id": 5 if n % 4 else None}

    text, contract = inferred(samples(fields_of))
    assert contract.total == "computed"
    assert (contract.by_name["product_category"].default, contract.by_name["customer_id"].default) == ("unknown", 0)
    assert "It accepts 30 of 30 samples." in text


def test_fields_that_are_not_found_are_shown_with_a_hint() -> None:
    values = [json.dumps({"orderId": f"A-{n}", "createdAt": "15.1.2025", "lines": []}).encode() for n in range(30)]
    text, _ = inferred(values)
    for part in (
        "Not found, to be filled in below: customer_id, product_name, product_category, unit_price, quantity,"
        " order_timestamp.",
        '# [order_timestamp]   # not found\n# "createdAt" has the name, but not the values, such as "15.1.2025".\n',
        '# [quantity]   # not found\n# key = "…"\n# or, if an order has no quantity or several:\n# fixed = 1\n',
    ):
        assert part in text


def test_missing_fields_that_can_be_fixed_are_counted() -> None:
    values = [
        json.dumps({k: v for k, v in json.loads(value).items() if k != "quantity"}).encode()
        for value in samples(lambda n: {"total_price": 2.5})
    ]
    text, _ = inferred(values)
    assert "It accepts 0 of 30 samples." in text and "With the values of `fixed` below, it accepts 30." in text


def test_one_sample_is_counted_in_the_singular() -> None:
    text, _ = inferred(samples(lambda n: {"customer_id": None, "note": None}, 1))
    assert "It accepts 0 of 1 sample." in text
    text, _ = inferred(samples(lambda n: {"product_name": "Mug" if n else None, "unit_price": 2.5 if n != 1 else None}))
    assert 'default = "unknown"   # missing or null in 1 sample' in text
    assert "# Rejected, because it is missing or null: 1 of 30 samples." in text


def test_a_few_invalid_samples_do_not_hide_a_field() -> None:
    text, contract = inferred(samples(lambda n: {"quantity": "two", "total_price": 5.0} if n == 4 else {}))
    assert contract.by_name["quantity"].key == "quantity"
    assert "It accepts 29 of 30 samples." in text
    assert "Rejected: 1 wrong_type, for example sample 5: quantity is the string 'two'" in text


def test_many_long_texts_fit_in_a_row() -> None:
    _, contract = inferred(samples(lambda n: {f"text_{key}": "x" * 400 for key in range(60)}))
    assert len(contract.custom_columns) == 60


def test_keys_beyond_the_limit_of_columns_are_kept_as_unknown_fields() -> None:
    text, contract = inferred(samples(lambda n: {f"flag_{key}": True for key in range(230)}, 3))
    assert (len(contract.custom_columns), contract.unknown_fields) == (201, "keep")
    assert "Keys that cannot be custom fields: 30." in text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["#1001", "#1002"], "#[0-9]{4,10}"),
        (["2025-000123", "2026-000124"], "[0-9]{4}-[0-9]{6,12}"),
        (["SO-1", "SO-22"], "SO-[0-9]{1,8}"),
        (["ab12", "cd34"], "[a-z]{2}[0-9]{2,8}"),
        (["A.1", "A.2"], r"A\.[0-9]{1,7}"),
        (["0f8fad5b-d9cb-469f-a165-70867728950e"], "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        (["aB3", "Cd4x"], "[0-9A-Za-z]{3,8}"),
        (["a--1", "b1"], "[0-9a-z-]{2,8}"),
        (["a[1]", "b[2]"], "[!-~]{1,50}"),
    ],
)
def test_a_pattern_is_inferred_from_ids(texts: list[str], expected: str) -> None:
    pattern = infer.pattern_of(texts)
    assert pattern == expected
    check(pattern)
    assert all(map(matcher(pattern), texts))


CSV = (
    "order_id,customer_id,product,category,price,qty,total,date,zip,gift,channel\n"
    'ORDER-000001,5,"Mat, 24""",Toys,2.50,2,5.00,2025-01-15T14:30:45,01234,true,\n'
    "ORDER-000002,6,Mat,Toys,10,1,10,2025-01-15T14:30:46,,false,\n"
)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, ["contract", *map(str, words)])


def test_a_contract_inferred_from_csv_accepts_its_samples(call: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(CSV)
    result = call("infer", "orders.csv", "--output", "inferred.toml")
    assert (result.exit_code, result.stdout) == (
        0,
        "Written: inferred.toml. Next: orderflow contract check inferred.toml orders.csv\n",
    )
    text = (tmp_path / "inferred.toml").read_text("utf-8")
    assert "It accepts 2 of 2 samples." in text
    contract = contract_file.read(text, "inferred.toml")
    assert [(field.name, str(field.kind), field.required) for field in contract.custom_columns] == [
        ("zip", "string", False),
        ("gift", "boolean", True),
        ("channel", "string", False),
    ]
    assert call("check", "inferred.toml", "orders.csv").exit_code == 0
    with Progress(disable=True) as progress:
        sent = [value for _, value, _ in files.read_messages(tmp_path / "orders.csv", progress, contract) if value]
    assert [read_exactly(value, contract)[0].order_id for value in sent] == ["ORDER-000001", "ORDER-000002"]
    (tmp_path / "orders.csv").write_text(CSV.replace(",2,5.00", ",two,5.00") + "only,two\n")
    check_result = call("check", "inferred.toml", "orders.csv", "--json")
    assert check_result.exit_code == 1
    sample_counts = json.loads(check_result.stdout)["samples"]
    assert (sample_counts["accepted"], sample_counts["rejected"]) == (1, 2)
    assert {(reason["reason"], *reason["first"][0]) for reason in sample_counts["reasons"]} == {
        ("wrong_type", "row 1", "qty is the string 'two', not an integer"),
        ("not_an_object", "row 3", "the value is a JSON array, not an object"),
    }
    repeated = call("infer", "orders.csv", "--output", "inferred.toml")
    assert isinstance(repeated.exception, InputInvalid) and "inferred.toml exists" in repeated.exception.message


@pytest.mark.parametrize("name", ["shopify-like", "woocommerce-like", "line-items"])
def test_contract_check_accepts_the_examples_of_the_docs(call: Callable[..., Result], name: str) -> None:
    path = EXAMPLES / f"{name}.toml"
    result = call("check", path, path.with_suffix(".jsonl"))
    assert result.exit_code == 0
    assert "Accepted: " in result.stdout and "Fast path: " in result.stdout
    assert "messages/s: this machine's rate for these samples" in result.stdout


def test_rejected_samples_are_shown_with_their_lines(call: Callable[..., Result], tmp_path: Path) -> None:
    values = samples(lambda n: {"quantity": 3} if n < 5 else {})
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*values[:6], b"", b"{", values[6], values[6]]))
    (tmp_path / "a.toml").touch()
    result = call("check", "a.toml", "a.jsonl")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    position = lines.index("rejected: 5 wrong_total")
    assert lines[position + 1] == "  line 1: total_price is 5.00, but 2.50 × 3 = 7.50"
    assert len([line for line in lines if line.startswith("  line ")]) == 4
    assert "rejected: 1 malformed_json" in lines and any(line.startswith("  line 8: ") for line in lines)
    assert "1 sample with the order_id of an earlier one: it must be unique." in lines


def test_the_reason_for_the_exact_path_is_shown(call: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[fields.a]\ntype = "decimal"\nprecision = 20\n')
    assert "Fast path: no, because " in call("check", "a.toml").stdout
    assert json.loads(call("check", "a.toml", "--json").stdout)["exact_path_because"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["infer", "none.jsonl"], "none.jsonl cannot be read: No such file"),
        (["infer", "."], " is neither .jsonl nor .csv."),
        (["infer", "a.txt"], "a.txt is neither .jsonl nor .csv."),
        (["infer", "empty.jsonl"], "empty.jsonl has no samples."),
        (["infer", "array.jsonl"], "array.jsonl has no sample that can be used: line 1 (it is not a JSON object)."),
        (
            ["infer", "short.csv"],
            "that can be used: row 1 (it has 1 cell, and the header has 2).",
        ),
        (["infer", "twice.csv"], "The first line of twice.csv has an empty or a repeated name."),
        (["infer", "open.csv"], "open.csv is not CSV in line 2: a quote is opened and not closed."),
        (["infer", "utf16.csv"], "utf16.csv is UTF-16."),
        (["infer", "good.jsonl", "--output", "a.txt"], "a.txt exists."),
        (["infer", "good.jsonl", "--output", "none/a.toml"], "none/a.toml cannot be written: No such file"),
        (["check", "none.toml"], "none.toml cannot be read: No such file"),
        (["check", "latin.jsonl"], "latin.jsonl is not UTF-8 in line 2."),
        (["check", "good.jsonl"], "good.jsonl, line 1: this is not TOML: "),
        (["check", "a.txt", "none.csv"], "none.csv cannot be read: "),
        (["check", "a.txt", "a.txt"], "a.txt is neither .jsonl nor .csv."),
        (["diff", "good.jsonl"], "good.jsonl, line 1: this is not TOML: "),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, words: list[str], sentence: str) -> None:
    for name, content in {
        "a.txt": b"",
        "empty.jsonl": b"\n \n",
        "good.jsonl": samples(lambda n: {}, 1)[0],
        "latin.jsonl": b'{"a": 1}\n{"a": "\xe9"}\n',
        "array.jsonl": b"[]\n",
        "short.csv": b"a,b\n1\n",
        "twice.csv": b"a,b,a\n1,2,3\n",
        "open.csv": b'a\n"x\n',
        "utf16.csv": "a\n1\n".encode("utf-16"),
    }.items():
        (tmp_path / name).write_bytes(content)
    result = run_orderflow("contract", *words, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and sentence in result.stderr and "\nhint: " in result.stderr
    assert "Traceback" not in result.stderr


def test_samples_that_cannot_be_used_are_skipped_and_reported(tmp_path: Path) -> None:
    lines = samples(lambda n: {}, 6)
    lines[1:1] = [b"{", b"", b"[1]", b'{"a": "\xe9"}', b"null"]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    result = run_orderflow("contract", "infer", "a.jsonl", cwd=tmp_path)
    assert result.returncode == 0
    assert "# It accepts 6 of 6 samples.\n# Skipped, because they cannot be used: 4 more.\n" in result.stdout
    assert " WARNING Skipped 4 of 10 samples of a.jsonl: line 2 (it is not JSON: " in result.stderr
    assert result.stderr.endswith("), line 4 (it is not a JSON object), line 5 (it is not UTF-8), …\n")
    (tmp_path / "a.csv").write_text(CSV + "only,two\n")
    result = run_orderflow("contract", "infer", "a.csv", cwd=tmp_path)
    assert result.returncode == 0 and "# It accepts 2 of 2 samples.\n" in result.stdout
    assert "Skipped 1 of 3 samples of a.csv: row 3 (it has 2 cells, and the header has 11)\n" in result.stderr


def test_help_has_examples() -> None:
    group = typer.main.get_command(cli.app).commands["contract"]  # type: ignore[attr-defined]
    for name, command in group.commands.items():
        assert f"`orderflow contract {name} " in command.help


KEYS = st.sampled_from(["id", "customer", "total", "qty", "created_at", "a.b", "", "é", "Name"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=6), min_size=1, max_size=6))
def test_any_objects_give_a_file_that_loads(objects: list[dict[str, Any]]) -> None:
    inferred([json.dumps(value).encode() for value in objects])


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_custom_fields_of_any_kind_are_accepted(fields: dict[str, Any]) -> None:
    [*values] = [json.dumps(fields | ORDER).encode()] * 3
    text, contract = inferred(values)
    try:
        read_exactly(values[0], contract)
    except RecordRejected as rejected:  # the texts that no contract accepts
        assert rejected.reason == Reason.INVALID_TEXT, text


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=50), min_size=1))
def test_the_pattern_of_any_ids_accepts_them(texts: list[str]) -> None:
    pattern = infer.pattern_of(texts)
    check(pattern)
    assert all(map(matcher(pattern), texts))


@given(st.lists(st.tuples(*[st.text(max_size=6)] * 3), min_size=1))
def test_any_cells_give_a_file_that_loads(rows: list[tuple[str, ...]]) -> None:
    contract_file.read(infer.infer(infer.of_cells(["a", "b", "customer.id"], rows), "samples.csv"), "inferred.toml")


@pytest.mark.parametrize("text", ["1e999999999", "-1e999999999", "1e-999999999"])
def test_a_number_with_a_huge_exponent_spoils_nothing(text: str) -> None:
    lines = [json.dumps(ORDER | {"unit_price": 2.5}).encode() for _ in range(3)]
    lines.append(lines[0].replace(b"2.5", text.encode()))
    assert infer.infer(infer.of_json(lines), "samples")
