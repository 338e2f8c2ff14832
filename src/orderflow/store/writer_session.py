"""A writer's connection, and how it writes orders: by LOAD DATA LOCAL, or by INSERT if the server does not allow it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from orderflow.errors import DatabaseRefused, UnknownDatabaseError
from orderflow.settings import Settings
from orderflow.store import order_rows, orders
from orderflow.store.connection import Connection, RowsRefused
from orderflow.store.separate_inserts import insert_each
from orderflow.store.skipped_rows import RefusedRow, RowsAltered, SkippedRow


class WriterSession:
    """A connection that is replaced before the server ends it for being idle."""

    def __init__(self, settings: Settings, folder: Path | None, *, lock_wait: int, idle_timeout: int) -> None:
        """Connect. LOAD DATA's files are in a new folder under `folder` (default: the system's temporary folder).

        Raises what Connection raises.
        """
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="orderflow-load-", dir=folder)
        self._infile = Path(self._folder.name).resolve() / "orders.tsv"
        self._lock_wait, self._idle_timeout = lock_wait, idle_timeout
        self._connect()

    def _connect(self) -> None:
        self.connection = Connection(
            self._settings,
            infile_folder=self._infile.parent,
            lock_wait=self._lock_wait,
            idle_timeout=self._idle_timeout,
        )
        with suppress(DatabaseRefused):  # MySQL allows it to administrators only; it only saves a query of the table
            self.connection.execute("set_warnings")
        self.uses_load_data = bool(self.connection.execute("select_local_infile").rows[0][0])
        self.connection.rollback()
        self._used_at = time.monotonic()

    def close(self) -> None:
        """End the session and remove the files."""
        self.connection.close()
        self._folder.cleanup()

    def reconnect_if_idle(self) -> None:
        """Connect again if no transaction has ended for half of the idle timeout."""
        if time.monotonic() - self._used_at > self._idle_timeout / 2:
            self.connection.close()
            self._connect()

    def mark_used(self) -> None:
        """Register that a transaction has ended now."""
        self._used_at = time.monotonic()

    def write(self, rows: pa.Table, stored_at: datetime) -> list[SkippedRow]:
        """Write the rows, and return those whose order_id exists already. Raises what `orders.load` raises."""
        if not len(rows):
            return []
        if self.uses_load_data:
            return orders.load(self.connection, rows, stored_at, self._infile)
        return orders.insert(self.connection, rows, stored_at)

    def write_except_refused(
        self, rows: pa.Table, stored_at: datetime, description: str
    ) -> tuple[list[SkippedRow], list[RefusedRow]]:
        """Write the rows except those that the server refuses or alters. `description` names the batch in an error.

        Raises an error that no row causes: a statement without rows fails too, or every row fails with a number outside
        ROW_AT_FAULT.
        """
        refused: list[RefusedRow] = []
        skipped_rows: list[SkippedRow] = []
        one_statement_per_row = False
        while len(rows):
            self.connection.execute("savepoint")
            newly_refused: Sequence[RefusedRow]
            try:
                if one_statement_per_row:
                    skipped_rows, newly_refused = insert_each(self.connection, rows, stored_at)
                    refused += newly_refused
                    rows = _without(rows, newly_refused)
                else:
                    skipped_rows = self.write(rows, stored_at)
                break
            except RowsAltered as altered:
                refused += altered.refused
                rows = _without(rows, altered.refused)
                self.connection.execute("rollback_to_savepoint")
            except RowsRefused:
                one_statement_per_row = True
                self.connection.execute("rollback_to_savepoint")
                orders.probe(self.connection)
        if len(rows) == len(skipped_rows) and refused and all(refusal.statement_error for refusal in refused):
            raise UnknownDatabaseError(
                f"The server accepted none of the {len(refused):,} orders of {description}: {refused[0].detail}",
                hint="The orders are probably valid: look for a broken trigger. `orderflow doctor` lists the triggers"
                " that this user may see.",
            )
        return skipped_rows, refused


def _without(rows: pa.Table, refused: Sequence[RefusedRow]) -> pa.Table:
    return order_rows.exclude(rows, [refusal.row.batch_index for refusal in refused])
