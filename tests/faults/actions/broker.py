"""Faults of the broker and of the connection to it."""

from __future__ import annotations

from tests.faults.registry import action
from tests.faults.system import System


@action()
def broker_killed(system: System) -> None:
    system.kafka.kill()
    system.hears("does not answer")
    system.revive(system.kafka)


@action()
def broker_restarted(system: System) -> None:
    system.kafka.stop()
    system.revive(system.kafka)


@action()
def broker_stopped(system: System) -> None:
    system.pause(system.kafka.process)


@action()
def sinks_line_to_kafka_slow(system: System) -> None:
    line = system.kafka.for_sink
    line.delay, line.rate = 0.1, 400_000
    system.until_it_stores()
    line.heal()


@action()
def sinks_line_to_kafka_cut(system: System) -> None:
    system.kafka.for_sink.cut()


@action()
def sinks_line_to_kafka_dead(system: System) -> None:
    line = system.kafka.for_sink
    line.frozen = True
    system.hears("does not answer")
    line.heal()
