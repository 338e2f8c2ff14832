"""The registry of all tables and views: names, statements and privileges."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Table(NamedTuple):
    """A table or view. `key` is its name in the statements; its name in the database is MYSQL_TABLE plus `suffix`.

    `columns` are those of a view. Those of a table are in its statement.
    """

    key: str
    suffix: str
    sink_privileges: str
    columns: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["table", "view"]:
        """Whether it is a table or a view."""
        return "view" if self.columns else "table"

    @property
    def create(self) -> str:
        """The name of the statement that creates it."""
        return f"create_{self.key}"


_SALES = ("product_category", "orders", "units", "revenue")
# In the order of creation: views after their tables.
TABLES = (
    Table("orders", "", "SELECT, INSERT"),
    Table("ledger", "_ledger", "SELECT, INSERT, UPDATE"),
    Table("quarantine", "_quarantine", "SELECT, INSERT, UPDATE"),
    Table("chunks", "_quarantine_chunks", "SELECT, INSERT"),
    Table("losses", "_losses", "SELECT, INSERT"),
    Table("audits", "_audits", "SELECT, INSERT"),
    Table("by_minute", "_by_minute", "SELECT, INSERT, UPDATE"),
    Table("per_minute", "_per_minute", "SELECT", ("minute", *_SALES)),
    Table("per_day", "_per_day", "SELECT", ("day", *_SALES)),
    Table(
        "per_reason",
        "_per_reason",
        "SELECT",
        ("reason", "status", "records", "first_quarantined_at", "last_quarantined_at"),
    ),
    Table("contracts", "_contracts", "SELECT"),
    Table("contract_starts", "_contract_starts", "SELECT, INSERT, UPDATE"),
    Table("schema", "_schema", "SELECT"),
    Table("adoption", "_adoption", "SELECT"),  # the last one, because it counts what the other steps adopt
)
# Names that tables had in earlier versions, for the statements of migrations.
FORMER_TABLES = {"record_parts": "_record_parts"}
