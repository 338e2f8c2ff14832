"""The base class of all rivals: the plain eight-column table, and the number of rows in it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from benchmarks import backlog, bench_statements, limit
from benchmarks.arena import Arena
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import placeholders_for

_PROBES = 500


class Rival(ABC):
    """See Contestant. It gets the number of rows to expect, because rivals do not count the stored rows."""

    name: str
    guarantees: str

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._waiting: set[str] = set()
        self._probes = 0

    def process(self, arena: Arena, settings: Settings) -> Process:
        limit.make_table(settings)
        step = max(1, self._rows // _PROBES)
        self._waiting = {f"ORDER-{backlog.FIRST + number}" for number in range(0, self._rows, step)}
        self._probes = len(self._waiting)
        return self._process(arena, settings)

    def position(self, connection: Connection, settings: Settings) -> int:
        """Return the number of stored rows, estimated from every n-th order until all of those are stored.

        Counting all rows each time would cost the server more than storing them.
        """
        if self._waiting:
            ids = sorted(self._waiting)
            found = bench_statements.execute(connection, "select_visible", ids, ids=placeholders_for(ids)).rows
            self._waiting.difference_update(order_id for (order_id,) in found)
        if self._waiting:
            return (self._probes - len(self._waiting)) * self._rows // self._probes
        return int(bench_statements.execute(connection, "count_rows").rows[0][0])

    @abstractmethod
    def _process(self, arena: Arena, settings: Settings) -> Process:
        """Return the process that fills the table, not started yet. Its consumer group has the database's name."""


def jdbc_url(settings: Settings, *, rewrite: bool = True) -> str:
    """Return the URL for Connector/J. Without `rewrite`, each row is a separate statement."""
    return (
        f"jdbc:mysql://{settings.mysql_host}:{settings.mysql_port}/{settings.mysql_database}"
        f"?rewriteBatchedStatements={str(rewrite).lower()}&connectionTimeZone=UTC"
    )
