"""Faults of the broker and of the connection to it."""

from __future__ import annotations

from tests.faults.registry import action
from tests.faults.system import System


@action()
def broker_killed(system: System) -> None:
    system.kafka.kill()
    system.wait_for_log("does not answer")
    system.restart(system.kafka)


@action()
def broker_restarted(system: System) -> None:
    system.kafka.stop()
    system.restart(system.kafka)


@action()
def broker_stopped(system: System) -> None:
    system.pause(system.kafka.process)


@action()
def sinks_line_to_kafka_slow(system: System) -> None:
    proxy = system.kafka.for_sink
    proxy.delay, proxy.rate = 0.1, 400_000
    system.until_it_stores()
    proxy.remove_faults()


@action()
def sinks_line_to_kafka_cut(system: System) -> None:
    system.kafka.for_sink.cut()


@action()
def sinks_line_to_kafka_dead(system: System) -> None:
    proxy = system.kafka.for_sink
    proxy.frozen = True
    system.wait_for_log("does not answer")
    proxy.remove_faults()
