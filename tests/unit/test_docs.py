"""What README says of settings and contract is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from orderflow import order, settings

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def _rows(section: str) -> list[list[str]]:
    [table] = re.findall(rf"<!-- {section}: .*?-->\n(.*?)<!-- /{section} -->", README, re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_settings_table() -> None:
    expected = [[name, f"`{default}`" if default else "", text] for name, default, text in settings.table()]
    assert _rows("settings") == expected


def test_contract_table() -> None:
    info = msgspec.inspect.type_info(order.Order)
    assert isinstance(info, msgspec.inspect.StructType)
    rules = {field.name: field.type.extra_json_schema["description"] for field in info.fields}  # type: ignore[union-attr,index]
    for name, _json, column, rule in _rows("contract"):
        assert rule == rules.pop(name)
        assert order.columns()[name].startswith(column)
    assert not rules


def test_the_sample_is_accepted() -> None:
    [sample] = re.findall(r"```json\n(.*?)\n```", README)
    assert order.decode(sample.encode()).order_id == "ORDER-000001"


def test_every_reason_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs/quarantine.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page.split("<!-- /reasons -->")[0], re.MULTILINE) == [
        *order.Reason
    ]
