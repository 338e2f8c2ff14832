"""Every fault by name: each does its harm, waits for the sink's sentence where there is one, and heals.

Afterwards the sink must go on by itself, or has been started again; `System.prove` tells whether anything was lost
or doubled. What only a person can mend is in test_operator.py.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import mysql.connector
import psutil
from confluent_kafka.admin import NewPartitions

from orderflow import topic
from orderflow.store.connection import UNAVAILABLE
from tests.faults.proxy import Trap, mysql_error
from tests.faults.system import Act, Engine, System, ended, send_signal, stopped
from tests.processes import until

ACTIONS: dict[str, Act] = {}
ENGINES: dict[str, Sequence[Engine]] = {}
_WAITING = "Waiting for it"
_AGAIN = "Starting again at the ledger's position"

# The statements of a transaction in their order: a process dies before or after each of them.
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


def action(*engines: Engine) -> Callable[[Act], Act]:
    """Register a fault under its function's name, for these engines; without one, for both."""

    def register(act: Act) -> Act:
        _register(act.__name__, act, engines)
        return act

    return register


def _register(name: str, act: Act, engines: Sequence[Engine] = ()) -> None:
    ACTIONS[name], ENGINES[name] = act, engines or ("spark", "direct")


# Producers


@action()
def producer_killed_mid_send(system: System) -> None:
    with system.started(
        system.orderflow("burst", "produce", "--rate", "5000", settings=system.producers_settings)
    ) as burst:
        before = _in_topic(system)
        until(lambda: _in_topic(system) > before + 500, burst)
    system.producer.kill()
    system.producer.start()
    until(lambda: any("Sending to" in line for line in system.producer.last_lines()), system.producer)


def _in_topic(system: System) -> int:
    return sum(bounds.end for bounds in topic.bounds(system.direct, topic.describe(system.direct).partitions).values())


@action()
def acknowledgements_lost(system: System) -> None:
    line = system.kafka.for_producers
    before = line.swallowed
    line.deaf = True
    until(lambda: line.swallowed > before)
    line.heal()


@action()
def producers_line_half_closed(system: System) -> None:
    system.kafka.for_producers.half_close()


@action()
def producers_line_slow(system: System) -> None:
    system.kafka.for_producers.delay = 0.3
    system.until_it_stores()
    system.kafka.for_producers.heal()


@action()
def transaction_aborted_and_committed(system: System) -> None:
    """The transactional producer draws both all the time."""
    size = system.transactional.log.stat().st_size
    until(lambda: system.transactional.log.read_bytes()[size:].count(b"ended") >= 8, system.transactional)


@action()
def transaction_hanging(system: System) -> None:
    """Nothing behind it is readable until the broker aborts it; then the sink goes on."""
    with _in_transaction(system):
        system.until_caught_up()


@action()
def transactional_producer_killed(system: System) -> None:
    with _in_transaction(system):
        system.transactional.kill()
    system.transactional.start()  # the same transactional.id: what was open is aborted


@contextmanager
def _in_transaction(system: System) -> Iterator[None]:
    """Stop the transactional producer, most likely in a transaction."""
    size = system.transactional.log.stat().st_size
    until(lambda: system.transactional.log.read_bytes()[size:].endswith(b"open\n"), system.transactional)
    with stopped(system.transactional.identity[0]):
        yield


@action()
def garbage(system: System) -> None:
    system.send_garbage(300)


# The broker


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


@action()
def partitions_added(system: System) -> None:
    name, wanted = system.direct.kafka_topic, system.partitions() + 1
    system.admin.create_partitions([NewPartitions(name, wanted)])[name].result()
    until(lambda: system.partitions() == wanted)
    system.send(system.draw.randrange(10**9, 10**12), 50, partition=wanted - 1)
    until(lambda: system.positions().get(wanted - 1, 0) >= 50, system.sink)


# The sink's processes


def killed_at(system: System, point: str) -> None:
    system.plan(point, "kill")
    system.until_taken()
    if system.engine == "spark":
        while not system.hears_soon(_AGAIN):  # a worker that an earlier fault left behind dies in silence
            system.plan(point, "kill")
            system.until_taken()
    else:
        assert ended(system.sink) == -signal.SIGKILL
        system.sink.start()


for _point in _POINTS:
    _register(f"killed_at_{_point.replace('.', '_')}", partial(killed_at, point=_point))


def _driver_killed_at(system: System, point: str) -> None:
    """All the sink's processes die while a transaction stands at this point."""
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
    """What MySQL has committed, Spark has not."""
    _driver_killed_at(system, "commit.after")


@action()
def driver_killed_at_random(system: System) -> None:
    with _later(system):
        system.sink.kill()
    system.sink.start()


@action()
def sink_terminated_at_random(system: System) -> None:
    with _later(system):
        system.sink.terminate()
    assert ended(system.sink) == 0, system.sink.last_lines()
    assert system.said("Stopping after this batch")
    system.sink.start()


@contextmanager
def _later(system: System) -> Iterator[None]:
    """Some orders later, at whatever instruction that is."""
    wanted = sum(system.positions().values()) + system.draw.randrange(200)
    until(lambda: sum(system.positions().values()) >= wanted, system.sink)
    yield


@action("spark")
def engine_killed(system: System) -> None:
    system.until_it_stores()  # a sink that has just begun has no JVM yet
    for jvm in system.below("org.apache.spark.deploy.SparkSubmit"):
        jvm.kill()
    system.hears("JVM is gone")


@action()
def zombie_whose_session_has_ended(system: System) -> None:
    """A worker is stopped before its COMMIT; its session is ended; another sink goes on; then it awakes."""
    with _zombie(system, "commit.before"):
        _end_sessions(system)
        system.until_caught_up()


@action("spark")
def zombie_that_holds_its_locks(system: System) -> None:
    """A worker is stopped before its COMMIT, and another sink waits for its locks; then it awakes, and commits."""
    with _zombie(system, "commit.before"):
        system.hears(_WAITING)


@action()
def zombie_that_awakes_late(system: System) -> None:
    """A worker is stopped with a run in its hands; another sink stores it; then the worker tries to."""
    producers = [system.producer.identity[0], system.transactional.identity[0]]
    number = system.draw.randrange(10**9, 10**12)
    with stopped(*producers):
        system.until_caught_up()
        with _zombie(system, "lock_ledger.before", lambda: system.send(number, 1, partition=0)):
            if system.engine == "direct":
                _end_sessions(system, oldest=1)  # the leader's; the worker's lives on
            until(lambda: _is_stored(system, number), system.sink)


@contextmanager
def _zombie(system: System, point: str, provoke: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Stop a worker at this point, let another sink come up, and wake the worker at the end."""
    former, spark = system.sink, system.engine == "spark"
    system.plan(point, "hold" if spark else "stop")
    provoke()
    zombie = psutil.Process(system.until_taken())
    if spark:
        former.kill()
    system.replace_sink()
    try:
        yield
    finally:
        assert zombie.is_running()
        if spark:
            (system.plans / "awake").touch()
            psutil.wait_procs([zombie], timeout=60)
            (system.plans / "awake").unlink()
        else:
            zombie.resume()
            until(lambda: b"Another sink is active" in former.log.read_bytes(), former)
            former.kill()
        assert not zombie.is_running()


def _end_sessions(system: System, oldest: int | None = None) -> None:
    """Of the sink's user, as the server's administrator can."""
    sessions = system.sql(
        f"SELECT id FROM information_schema.processlist WHERE user = '{system.settings.mysql_user}' ORDER BY id"
    )
    for (session,) in sessions[:oldest]:
        with suppress(mysql.connector.DatabaseError):  # it has ended by itself meanwhile
            system.sql(f"KILL {session}")


@action()
def second_sink_takes_over_then_a_third(system: System) -> None:
    for _ in range(2):
        system.until_it_stores()  # so it leads
        former = system.sink
        system.replace_sink()
        system.hears("Another sink is active")
        former.kill()
        system.until_it_stores()


@action()
def leadership_lost(system: System) -> None:
    """The first sink's sessions end while a second stands by: for a moment, both believe to be the active one."""
    system.until_it_stores()  # so it leads
    former = system.sink
    system.replace_sink()
    system.hears("Another sink is active")
    _end_sessions(system)
    system.until_it_stores()
    former.kill()


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
    def found() -> list[Path]:
        return list(Path("/dev/shm").glob(f"orderflow-sink-{system.sink.identity[0]}-*/checkpoint-*"))

    until(lambda: bool(found()), system.sink)  # the one before it may just have been deleted
    return found()


@action("spark")
def sinks_disk_full(system: System) -> None:
    """Neither Spark nor a worker can write a byte to a file of theirs."""
    system.until_it_stores()  # a sink that has just begun has neither
    _limit_files(system, 1)
    system.hears(_AGAIN)
    assert system.said("Spark's query ended: OSError: [Errno 27] File too large.")
    _limit_files(system, psutil.RLIM_INFINITY)


def _limit_files(system: System, size: int) -> None:
    for process in psutil.Process(system.sink.identity[0]).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))


# The database


@action()
def database_killed(system: System) -> None:
    system.database.kill()
    system.hears("does not answer")
    system.revive(system.database)


@action()
def database_restarted(system: System) -> None:
    system.until_it_stores()  # a sink that has not met MySQL yet does not know how many records wait
    system.database.stop()
    system.hears("records wait in Kafka")
    assert system.said('{"state":"waiting"')
    system.revive(system.database)


@action()
def database_stopped(system: System) -> None:
    system.pause(system.database.process)


@action()
def database_line_cut(system: System) -> None:
    system.cut_sessions()


@action()
def commit_reply_lost(system: System) -> None:
    """The server has the COMMIT; its answer never comes."""
    trap = system.database.proxy.trap = Trap(b"COMMIT")
    # Not at the first COMMIT: a worker that an earlier fault left behind loses it in silence.
    until(lambda: trap.sprung and system.said(_WAITING), system.sink)
    system.database.proxy.heal()


@action()
def commit_lost(system: System) -> None:
    """The connection ends before the server has the COMMIT."""
    trap = system.database.proxy.trap = Trap(b"COMMIT", mysql_error(1180, "Got error 5 during COMMIT"))
    until(lambda: trap.sprung and system.said(_WAITING), system.sink)
    system.database.proxy.heal()


@action()
def database_disk_full(system: System) -> None:
    assert 1114 in UNAVAILABLE
    trap = system.database.proxy.trap = Trap(b"LOAD DATA", mysql_error(1114, "The table 'orders' is full"))
    system.hears("cannot take writes now: The table 'orders' is full")
    system.database.proxy.heal()
    assert trap.sprung


@action()
def database_read_only(system: System) -> None:
    name = "super_read_only" if system.database.program.kind == "mysql" else "read_only"
    system.sql(f"SET GLOBAL {name} = ON")
    system.hears("cannot take writes now")
    system.sql("SET GLOBAL read_only = OFF")


@action()
def too_many_connections(system: System) -> None:
    [(before,)] = system.sql("SELECT @@GLOBAL.max_connections")
    with system.session() as other:
        other.cursor().execute("SET GLOBAL max_connections = 1")
        system.cut_sessions()
        system.hears("Too many connections")
        other.cursor().execute(f"SET GLOBAL max_connections = {before}")


@action()
def deadlock(system: System) -> None:
    """A session holds an order_id that the sink wants, then wants the ledger row that the sink holds."""
    number = system.draw.randrange(10**9, 10**12)
    before = system.positions()[0]
    until(lambda: system.positions()[0] != before, system.sink)  # or this session might meet an earlier fault's locks
    with system.session() as other:
        cursor = other.cursor()
        # Whoever has written less is rolled back: let that be the sink.
        cursor.execute("CREATE TEMPORARY TABLE ballast (id INT PRIMARY KEY AUTO_INCREMENT, text CHAR(100))")
        cursor.executemany("INSERT INTO ballast (text) VALUES (%s)", [("x",)] * 3000)
        _hold(cursor, number)
        system.send(number, 1, partition=0)
        until(lambda: _lock_waits(system), system.sink)
        cursor.execute("SELECT next_offset FROM orders_ledger WHERE kafka_partition = 0 FOR UPDATE")
        cursor.fetchall()
        other.rollback()
    system.until_caught_up()
    assert _is_stored(system, number)


@action()
def lock_timeout(system: System) -> None:
    number = system.draw.randrange(10**9, 10**12)
    with system.session() as other:
        _hold(other.cursor(), number)
        system.send(number, 1, partition=0)
        until(lambda: _lock_waits(system), system.sink)
        first = _lock_waits(system)
        until(lambda: _lock_waits(system) - first, system.sink)  # it has given up, and waits again
        other.rollback()
    system.until_caught_up()
    assert _is_stored(system, number)


def _hold(cursor: Any, number: int) -> None:
    cursor.execute(
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        f" order_timestamp) VALUES (1, 'ORDER-{number}', 'x', 'x', 1, 1, 1, NOW())"
    )


def _is_stored(system: System, number: int) -> bool:
    return system.sql(f"SELECT COUNT(*) FROM orders WHERE order_id = 'ORDER-{number}'") == [(1,)]


def _lock_waits(system: System) -> set[tuple[object, ...]]:
    return set(
        system.sql("SELECT trx_id, trx_wait_started FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
    )


@action()
def restored_to_an_older_state(system: System) -> None:
    """Data and ledger go back together: the orders since then come again from Kafka, without a command."""
    database, data = system.database, system.database.folder / "data"
    backup = system.folder / "backup"
    database.stop()
    shutil.copytree(data, backup)
    system.revive(database)
    system.until_caught_up()
    before = sum(system.positions().values())
    database.kill()
    shutil.rmtree(data)
    backup.rename(data)
    system.revive(database)
    until(lambda: sum(system.positions().values()) > before, system.sink)


@action()
def local_infile_switched_off(system: System) -> None:
    """Orders go by INSERT then; and by LOAD DATA again in sessions that find it on."""
    system.sql("SET GLOBAL local_infile = OFF")
    system.plan("insert_orders.before", "1213")
    system.until_taken()
    system.until_it_stores()
    system.sql("SET GLOBAL local_infile = ON")
    system.cut_sessions()


# Clocks


@action()
def clock_set_back(system: System) -> None:
    """The sink reads one clock, the server's: here it stands still in 2001, for every transaction the same."""
    system.sql("SET GLOBAL init_connect = 'SET timestamp = 1000000000'")
    system.cut_sessions()
    until(lambda: system.sql("SELECT 1 FROM orders WHERE stored_at < '2002-01-01' LIMIT 1"), system.sink)
    system.sql("SET GLOBAL init_connect = ''")
    system.cut_sessions()


@action()
def summer_time_begins_and_ends(system: System) -> None:
    """The server's zone moves by an hour; orders of the hour that does not exist, and of the one that comes twice."""
    for zone in ("+02:00", "+01:00"):
        system.sql(f"SET GLOBAL time_zone = '{zone}'")
        system.cut_sessions()
        for month in (3, 10):
            moment = datetime(2025, month, 30 if month == 3 else 26, 2, 30, tzinfo=UTC).timestamp()
            system.send(system.draw.randrange(10**9, 10**12), 3, clock=lambda moment=moment: moment)  # type: ignore[misc]
        system.until_caught_up()
    system.sql("SET GLOBAL time_zone = 'SYSTEM'")
    hours = "SELECT COUNT(*) FROM orders WHERE order_timestamp IN ('2025-03-30 02:30:00', '2025-10-26 02:30:00')"
    assert system.sql(hours)[0][0] >= 12


# Large


@action("direct")
def producers_queue_full(system: System) -> None:
    """More orders than librdkafka's queue holds (100,000), while nothing gets through: the producer waits."""
    line = system.kafka.for_producers
    burst = system.orderflow("burst", "produce", "--count", "110000", "--json", settings=system.producers_settings)
    with system.started(burst):
        until(lambda: b"Sending to" in burst.log.read_bytes(), burst)
        line.frozen = True
        until(lambda: b'"in_flight": 100000' in burst.log.read_bytes(), burst)
        line.heal()
        assert ended(burst) == 0, burst.last_lines()
