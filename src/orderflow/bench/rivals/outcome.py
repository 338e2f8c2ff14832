"""What a contestant does with a message that is no order: watched, not known beforehand."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from rich.progress import Progress

from orderflow import order
from orderflow.bench import backlog
from orderflow.bench.arena import Arena
from orderflow.bench.contest import STALLED, Contestant, running
from orderflow.bench.rivals.rival import Rival
from orderflow.produce import malformed
from orderflow.store.connection import Connection

KINDS: dict[str, malformed.Kind] = {
    "cut-off message": malformed.truncated,
    'quantity "two"': malformed.KINDS["quantity in words"],
}
_GOOD = 20  # orders; the bad message comes in their middle
_LEAST = 15.0  # seconds until it counts as stopped, or twice the time of its start if that is more
_POLL = 0.1


def watch(make: Callable[[int], Contestant], arena: Arena, progress: Progress, spoil: malformed.Kind) -> str:
    """What becomes of the message, in a few words. A contestant that stops is started over once."""
    messages = list(islice(backlog.messages(), _GOOD + 1))
    key, value, _ = messages[_GOOD // 2]
    assert key and value
    messages[_GOOD // 2] = key, spoil(value), 0
    contestant, bad_id = make(len(messages)), key.decode()
    good = {message[0].decode() for message in messages if message[0]} - {bad_id}
    with arena.topic(partitions=1) as topic, arena.database(topic) as settings:
        process = contestant.process(arena, settings)
        with Connection(settings) as connection:
            if isinstance(contestant, Rival):  # NOT NULL, as the plain table has it, would stop some that go on without
                connection.run("bench_allow_null")

            def stored(count: int, patience: float) -> bool:
                deadline = time.monotonic() + patience
                while len(good & _rows(connection).keys()) < count:
                    if not process.alive or time.monotonic() > deadline:
                        return False
                    time.sleep(_POLL)
                return True

            backlog.send(settings, messages[: _GOOD // 2], _GOOD // 2, progress)
            with running(process):
                started = time.monotonic()
                if not stored(_GOOD // 2, STALLED):
                    return "does not start"
                patience = max(_LEAST, 2 * (time.monotonic() - started))
                backlog.send(settings, messages[_GOOD // 2 :], _GOOD // 2 + 1, progress)
                goes_on = stored(_GOOD, patience)
            if not goes_on:
                with running(process):
                    goes_on = stored(_GOOD, patience)
            rows = _rows(connection)
            if not goes_on:
                return f"stops for ever, {len(good & rows.keys())} of {_GOOD} good ones stored"
            if others := rows.keys() - good - {bad_id}:
                return f"stored as order {others.pop()!r}"
            if bad_id in rows:
                return f"stored, {_difference(rows[bad_id], value)}"
            if isinstance(contestant, Rival):
                return "skipped"
            [(reason, _)] = connection.run("count_quarantined_by_reason").rows
            return f"quarantined, {reason}"


def _rows(connection: Connection) -> dict[str, tuple[object, ...]]:
    place = order.FIELDS.index("order_id")
    return {str(row[place]): row for row in connection.run("bench_select_rows").rows}


def _difference(row: tuple[object, ...], value: bytes) -> str:
    """What the row holds in another way than the message did before it was spoilt."""
    [[line]] = backlog.lines([(None, value, 0)])
    changed = [
        f"{name} {'NULL' if found is None else found}"
        for name, found, sent in zip(order.FIELDS, row, line.split("\t"), strict=True)
        if str(found) != sent
    ]
    return ", ".join(changed) or "unchanged"
