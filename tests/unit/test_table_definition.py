"""Which tables can store every value of a definition."""

from __future__ import annotations

import pytest

from orderflow.store.table_definition import ExistingColumn, ExistingTable, TableDefinition, differences, parse_column


@pytest.mark.parametrize(
    ("needed", "existing", "holds"),
    [
        ("INT", "bigint", True),
        ("INT", "smallint", False),
        ("INT", "int unsigned", False),
        ("INT", "float", False),
        ("DECIMAL(10,2)", "decimal(12,2)", True),
        ("DECIMAL(10,2)", "decimal(12,4)", True),
        ("DECIMAL(10,2)", "decimal(10,4)", False),
        ("DECIMAL(10,2)", "decimal(10,1)", False),
        ("VARCHAR(50)", "varchar(60)", True),
        ("VARCHAR(50)", "mediumtext", True),
        ("VARCHAR(50)", "varchar(40)", False),
        ("VARCHAR(50)", "char(60)", False),
        ("DATETIME(3)", "datetime(6)", True),
        ("DATETIME(3)", "datetime", False),
        ("DATETIME", "date", False),
        ("DATETIME", "timestamp", False),
    ],
)
def test_a_wider_type_is_accepted_only_if_it_holds_every_value(needed: str, existing: str, holds: bool) -> None:
    column = parse_column(needed)
    definition = TableDefinition({"c": column, "id": parse_column("INT")}, "id", may_be_wider=True)
    table = ExistingTable(
        "InnoDB", {"c": ExistingColumn(existing, column.charset), "id": ExistingColumn("int")}, {"PRIMARY": "id"}
    )
    assert (not [*differences(definition, table)]) == holds
    assert [*differences(definition._replace(may_be_wider=False), table)]


def test_the_character_set_must_be_the_same_also_in_a_wider_column() -> None:
    definition = TableDefinition({"id": parse_column("VARCHAR(50)")}, "id", may_be_wider=True)
    table = ExistingTable("InnoDB", {"id": ExistingColumn("varchar(60)", "latin1")}, {"PRIMARY": "id"})
    assert [difference.description for difference in differences(definition, table)]
