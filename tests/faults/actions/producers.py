"""Faults of producers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orderflow import topic
from tests.faults.registry import action
from tests.faults.system import System, ended, stopped
from tests.support.processes import until


@action()
def producer_killed_mid_send(system: System) -> None:
    with system.started(
        system.orderflow("burst", "produce", "--rate", "5000", settings=system.producer_settings)
    ) as burst:
        before = _count_records(system)
        until(lambda: _count_records(system) > before + 500, burst)
    system.producer.kill()
    system.producer.start()
    until(lambda: any("Sending to" in line for line in system.producer.last_lines()), system.producer)


def _count_records(system: System) -> int:
    return sum(
        bounds.end
        for bounds in topic.bounds(system.admin_settings, topic.describe(system.admin_settings).partitions).values()
    )


@action()
def acknowledgements_lost(system: System) -> None:
    proxy = system.kafka.for_producers
    before = proxy.discarded_bytes
    proxy.discards_replies = True
    until(lambda: proxy.discarded_bytes > before)
    proxy.remove_faults()


@action()
def producers_line_half_closed(system: System) -> None:
    system.kafka.for_producers.half_close()


@action()
def producers_line_slow(system: System) -> None:
    system.kafka.for_producers.delay = 0.3
    system.until_it_stores()
    system.kafka.for_producers.remove_faults()


@action()
def transaction_aborted_and_committed(system: System) -> None:
    """The transactional producer does both at random all the time."""
    size = system.transactional.log.stat().st_size
    until(lambda: system.transactional.log.read_bytes()[size:].count(b"ended") >= 8, system.transactional)


@action()
def transaction_hanging(system: System) -> None:
    """No record after an open transaction is readable until the broker aborts it. Then the sink continues."""
    with _in_transaction(system):
        system.until_caught_up()


@action()
def transactional_producer_killed(system: System) -> None:
    with _in_transaction(system):
        system.transactional.kill()
    system.transactional.start()  # the same transactional.id, so the broker aborts the open transaction


@contextmanager
def _in_transaction(system: System) -> Iterator[None]:
    """Stop the transactional producer, most likely during a transaction."""
    size = system.transactional.log.stat().st_size
    until(lambda: system.transactional.log.read_bytes()[size:].endswith(b"open\n"), system.transactional)
    with stopped(system.transactional.identity[0]):
        yield


@action()
def garbage(system: System) -> None:
    system.send_garbage(300)


@action("direct")
def producers_queue_full(system: System) -> None:
    """The producer waits: more orders than librdkafka's queue holds (100,000), while the connection is blocked."""
    proxy = system.kafka.for_producers
    burst = system.orderflow("burst", "produce", "--count", "110000", "--json", settings=system.producer_settings)
    with system.started(burst):
        until(lambda: b"Sending to" in burst.log.read_bytes(), burst)
        proxy.frozen = True
        until(lambda: b'"in_flight": 100000' in burst.log.read_bytes(), burst)
        proxy.remove_faults()
        assert ended(burst) == 0, burst.last_lines()
