"""The benchmarks' SQL: one statement per file in sql/, with the placeholders of the store's statements."""

from __future__ import annotations

from pathlib import Path

from orderflow.store import statements
from orderflow.store.connection import Connection, StatementResult, Values


def execute(connection: Connection, name: str, values: Values = (), **placeholders: str) -> StatementResult:
    """Execute the statement with this name. Raises what `Connection.execute` raises."""
    text = Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text("utf-8")
    text = statements.without_comment(text)
    return connection.execute_text(statements.fill(text, connection.settings, **placeholders), values)
