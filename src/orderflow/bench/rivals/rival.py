"""What the rivals share: the plain eight-column table, and how far it is filled."""

from __future__ import annotations

from abc import ABC, abstractmethod

from orderflow.bench import backlog, limit
from orderflow.bench.arena import Arena
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import marks

_PROBES = 500


class Rival(ABC):
    """See Contestant. It is told how many rows will come, for nobody keeps count of those that are stored."""

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
        """Estimated from every n-th order: to count all each time would cost the server more than to store them.

        They are counted when all of those are there.
        """
        if self._waiting:
            ids = sorted(self._waiting)
            found = connection.run("bench_select_visible", ids, ids=marks(ids)).rows
            self._waiting.difference_update(order_id for (order_id,) in found)
        if self._waiting:
            return (self._probes - len(self._waiting)) * self._rows // self._probes
        return int(connection.run("bench_count_rows").rows[0][0])

    @abstractmethod
    def _process(self, arena: Arena, settings: Settings) -> Process:
        """The process that will fill the table, not started yet. Its group of consumers is named as its database."""


def jdbc_url(settings: Settings, *, rewrite: bool = True) -> str:
    """For Connector/J. Without `rewrite`, each row is a statement of its own."""
    return (
        f"jdbc:mysql://{settings.mysql_host}:{settings.mysql_port}/{settings.mysql_database}"
        f"?rewriteBatchedStatements={str(rewrite).lower()}&connectionTimeZone=UTC"
    )
