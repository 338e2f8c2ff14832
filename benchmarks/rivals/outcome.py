"""Observes what a contestant does with an invalid message."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from rich.progress import Progress

from benchmarks import backlog, bench_statements
from benchmarks.arena import Arena
from benchmarks.contest import STALLED, Contestant, running
from benchmarks.rivals.rival import Rival
from orderflow.contract import definition
from orderflow.produce import message_defects
from orderflow.store.connection import Connection

DEFECTS: dict[str, message_defects.Defect] = {
    "cut-off message": message_defects.truncated,
    'quantity "two"': message_defects.DEFECTS["quantity in words"],
}
_GOOD_ORDERS = 20  # the bad message is in the middle
_MIN_TIMEOUT = 15.0  # seconds without progress after which it counts as stopped; or twice its start time, if longer
_POLL_INTERVAL = 0.1  # seconds


def observe(make: Callable[[int], Contestant], arena: Arena, progress: Progress, spoil: message_defects.Defect) -> str:
    """Return what happened to the message, in a few words. A contestant that stops is restarted once."""
    messages = list(islice(backlog.messages(), _GOOD_ORDERS + 1))
    key, value, _ = messages[_GOOD_ORDERS // 2]
    assert key and value
    messages[_GOOD_ORDERS // 2] = key, spoil(value), 0
    contestant, bad_id = make(len(messages)), key.decode()
    good = {message[0].decode() for message in messages if message[0]} - {bad_id}
    with arena.topic(partitions=1) as topic, arena.database(topic) as settings:
        process = contestant.process(arena, settings)
        with Connection(settings) as connection:
            if isinstance(contestant, Rival):  # the plain table's NOT NULL would stop rivals that otherwise continue
                bench_statements.execute(connection, "allow_null")

            def stored(count: int, timeout: float) -> bool:
                deadline = time.monotonic() + timeout
                while len(good & _rows(connection).keys()) < count:
                    if not process.alive or time.monotonic() > deadline:
                        return False
                    time.sleep(_POLL_INTERVAL)
                return True

            backlog.send(settings, messages[: _GOOD_ORDERS // 2], _GOOD_ORDERS // 2, progress)
            with running(process):
                started_at = time.monotonic()
                if not stored(_GOOD_ORDERS // 2, STALLED):
                    return "does not start"
                timeout = max(_MIN_TIMEOUT, 2 * (time.monotonic() - started_at))
                backlog.send(settings, messages[_GOOD_ORDERS // 2 :], _GOOD_ORDERS // 2 + 1, progress)
                has_continued = stored(_GOOD_ORDERS, timeout)
            if not has_continued:
                with running(process):
                    has_continued = stored(_GOOD_ORDERS, timeout)
            rows = _rows(connection)
            if not has_continued:
                return f"stops permanently, {len(good & rows.keys())} of {_GOOD_ORDERS} good orders stored"
            if others := rows.keys() - good - {bad_id}:
                return f"stored as order {others.pop()!r}"
            if bad_id in rows:
                return f"stored, {_difference(rows[bad_id], value)}"
            if isinstance(contestant, Rival):
                return "skipped"
            [(reason, _)] = connection.execute("count_quarantined_by_reason").rows
            return f"quarantined, {reason}"


def _rows(connection: Connection) -> dict[str, tuple[object, ...]]:
    index = definition.STANDARD_FIELDS.index("order_id")
    return {str(row[index]): row for row in bench_statements.execute(connection, "select_rows").rows}


def _difference(row: tuple[object, ...], value: bytes) -> str:
    """Return the columns of the row that differ from the message before it was spoilt."""
    [[line]] = backlog.lines([(None, value, 0)])
    changed = [
        f"{name} {'NULL' if found is None else found}"
        for name, found, sent in zip(definition.STANDARD_FIELDS, row, line.split("\t"), strict=True)
        if str(found) != sent
    ]
    return ", ".join(changed) or "unchanged"
