"""Faults of the sink's processes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from tests.faults.registry import RESTARTING, action, register
from tests.faults.system import System, ended, send_signal
from tests.support.processes import until

# The statements of a transaction in order. A process dies before or after each of them.
_POINTS = (
    "lock_ledger.before",
    "lock_ledger.after",
    "load_orders.before",
    "load_orders.after",
    "insert_quarantine.after",
    "add_by_minute.after",
    "advance_ledger.after",
    "commit.after",
)


def killed_at(system: System, point: str) -> None:
    system.plan(point, "kill")
    system.until_taken()
    if system.engine == "spark":
        while not system.logs_within(RESTARTING):  # a worker left running by an earlier fault logs nothing
            system.plan(point, "kill")
            system.until_taken()
    else:
        assert ended(system.sink) == -signal.SIGKILL
        system.sink.start()


for _point in _POINTS:
    register(f"killed_at_{_point.replace('.', '_')}", partial(killed_at, point=_point))


def _driver_killed_at(system: System, point: str) -> None:
    """All the sink's processes die while a transaction is at this point."""
    system.plan(point, "stop")
    worker = system.until_taken()
    system.sink.kill()
    send_signal(worker, signal.SIGKILL)
    system.sink.start()


@action()
def driver_killed_before_commit(system: System) -> None:
    _driver_killed_at(system, "commit.before")


@action()
def driver_killed_after_commit(system: System) -> None:
    """MySQL has committed the batch, but Spark has not."""
    _driver_killed_at(system, "commit.after")


@action()
def driver_killed_at_random(system: System) -> None:
    with _at_a_random_moment(system):
        system.sink.kill()
    system.sink.start()


@action()
def sink_terminated_at_random(system: System) -> None:
    with _at_a_random_moment(system):
        system.sink.terminate()
    assert ended(system.sink) == 0, system.sink.last_lines()
    assert system.has_logged("Stopping after this batch")
    system.sink.start()


@contextmanager
def _at_a_random_moment(system: System) -> Iterator[None]:
    """Wait for a random number of orders, so that the fault occurs at any instruction."""
    wanted = sum(system.positions().values()) + system.rng.randrange(60)
    until(lambda: sum(system.positions().values()) >= wanted, system.sink)
    yield


@action()
def contract_extended(system: System) -> None:
    """The contract gets another field. The next sink dies while it adds the column, or at its first batch with it."""
    system.until_it_stores()
    system.sink.kill()
    name, number = system.extend_contract(), system.rng.randrange(10**9, 10**12)
    added_fields = f', "{name}": "{number}"'.encode()
    system.send(number, 60, added_fields=added_fields)
    point = system.rng.choice(("change_orders.after", "insert_contract.after", "set_partition_contract.after"))
    system.plan(point, "kill")
    system.replace_sink()
    system.until_taken()
    if point == "set_partition_contract.after" and system.engine == "spark":
        system.wait_for_log(RESTARTING)
    else:
        assert ended(system.sink) == -signal.SIGKILL
        system.sink.start()
    until(lambda: _count_values(system, name) == 60, system.sink)
    system.send(number + 60, 60, added_fields=added_fields)
    until(lambda: _count_values(system, name) == 120, system.sink)


def _count_values(system: System, name: str) -> int:
    """Return the number of orders that have a value in this column."""
    if not system.sql(f"SHOW COLUMNS FROM orders LIKE '{name}'"):
        return 0
    return int(system.sql(f"SELECT COUNT({name}) FROM orders")[0][0])


@action("spark")
def engine_killed(system: System) -> None:
    system.until_it_stores()  # a sink that has just started has no JVM yet
    for jvm in system.sink_processes("org.apache.spark.deploy.SparkSubmit"):
        jvm.kill()
    system.wait_for_log("JVM has exited")


@action("spark")
def checkpoint_deleted(system: System) -> None:
    for checkpoint in _checkpoints(system):
        shutil.rmtree(checkpoint, ignore_errors=True)
    system.until_it_stores()


@action("spark")
def checkpoint_truncated(system: System) -> None:
    for checkpoint in _checkpoints(system):
        for path in checkpoint.rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    system.until_it_stores()


def _checkpoints(system: System) -> list[Path]:
    def existing() -> list[Path]:
        return list(Path("/dev/shm").glob(f"orderflow-scratch-{system.sink.identity[0]}-*/checkpoint-*"))

    until(lambda: bool(existing()), system.sink)  # the previous one may just have been deleted
    return existing()


@action("spark")
def sinks_disk_full(system: System) -> None:
    """Neither Spark nor a worker can write to its files."""
    system.until_caught_up()  # what a killed JVM has left may still store other records
    system.mark()
    _limit_files(system, 1)
    system.wait_for_log(RESTARTING)
    # In real-time mode a worker reports its error to the driver by a file or the log, and it can write neither here.
    reports = ["File too large", *(("Broken pipe", "Connection reset") if system.may_be_realtime else ())]
    assert any(map(system.has_logged, reports)), system.sink.last_lines(20)
    _limit_files(system, psutil.RLIM_INFINITY)


def _limit_files(system: System, size: int) -> None:
    for process in psutil.Process(system.sink.identity[0]).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))
