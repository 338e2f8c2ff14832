"""Faults of the database and of its clock."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import Any

import pytest

from orderflow.store import error_numbers
from tests.faults.proxy import Trap, mysql_error
from tests.faults.registry import WAITING, action, is_stored
from tests.faults.system import System, ended
from tests.support.processes import until


@action()
def database_killed(system: System) -> None:
    system.database.kill()
    system.wait_for_log("does not answer")
    system.restart(system.database)


@action()
def database_restarted(system: System) -> None:
    system.until_it_stores()  # before its first connection to MySQL, the sink cannot log the lag
    system.database.stop()
    system.wait_for_log("The lag is ")
    assert system.has_logged('{"state":"waiting"')
    system.restart(system.database)


@action()
def database_stopped(system: System) -> None:
    system.pause(system.database.process)


@action()
def database_line_cut(system: System) -> None:
    system.cut_sessions()


@action()
def commit_reply_lost(system: System) -> None:
    """The server receives the COMMIT, but its reply is lost."""
    trap = system.database.proxy.trap = Trap(b"COMMIT")
    # Not at the first COMMIT: a worker that an earlier fault left running may send it, and logs nothing.
    until(lambda: trap.hits and system.has_logged(WAITING), system.sink)
    system.database.proxy.remove_faults()


@action()
def commit_lost(system: System) -> None:
    """The COMMIT fails with error 1180, and the server never receives it. The connection stays open."""
    trap = system.database.proxy.trap = Trap(b"COMMIT", mysql_error(1180, "Got error 5 during COMMIT"))
    until(lambda: trap.hits and system.has_logged(WAITING), system.sink)
    system.database.proxy.remove_faults()


@action()
def database_disk_full(system: System) -> None:
    assert error_numbers.group_of(1114, error_numbers.UNAVAILABLE_GROUPS)
    trap = system.database.proxy.trap = Trap(b"LOAD DATA", mysql_error(1114, "The table 'orders' is full"))
    system.wait_for_log("cannot write its files now: The table 'orders' is full")
    system.database.proxy.remove_faults()
    assert trap.hits


@action()
def temporary_space_full(system: System) -> None:
    words = "Error writing file '/tmp/MLcopy' (OS errno 28 - No space left on device)"
    trap = system.database.proxy.trap = Trap(b"LOAD DATA", mysql_error(3, words))
    system.wait_for_log(f"cannot write its files now: {words}")
    system.database.proxy.remove_faults()
    assert trap.hits


@action()
def trigger_refuses_orders(system: System) -> None:
    """Only the refused orders are quarantined; the sink stores the others."""
    first = system.rng.randrange(10**9, 10**11)
    refused = [f"ORDER-{number}" for number in range(first, first + 10)]
    system.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW IF NEW.order_id IN"
        f" ({', '.join(map(repr, refused))}) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"
    )
    system.refused.update(refused)
    system.send(first, len(refused))
    system.until_caught_up()
    system.sql("DROP TRIGGER refuse")


@action()
def ledger_in_myisam(system: System) -> None:
    """MyISAM has no transactions: a sink refuses to start, and names the statement that fixes it."""
    system.sink.kill()
    system.sql("ALTER TABLE orders_ledger ENGINE = MyISAM")
    system.sink.start()
    assert ended(system.sink) == 2, system.sink.last_lines()
    assert system.has_logged("its engine is MyISAM") and system.has_logged("ENGINE = InnoDB"), system.sink.last_lines()
    system.sql("ALTER TABLE orders_ledger ENGINE = InnoDB")
    system.sink.start()


@action()
def database_read_only(system: System) -> None:
    name = "super_read_only" if system.database.program.kind == "mysql" else "read_only"
    system.sql(f"SET GLOBAL {name} = ON")
    system.wait_for_log("cannot take writes now")
    system.sql("SET GLOBAL read_only = OFF")


@action()
def database_offline(system: System) -> None:
    if system.database.program.kind != "mysql":
        pytest.skip("MariaDB has no offline_mode")
    system.sql("SET GLOBAL offline_mode = ON")
    system.wait_for_log("offline mode")
    system.sql("SET GLOBAL offline_mode = OFF")


@action()
def server_variables_changed(system: System) -> None:
    """An administrator changes variables for all new sessions, to values that OrderFlow's statements do not expect."""
    changed: dict[str, str | int] = {
        "sql_mode": "ANSI",
        "time_zone": "+05:30",
        "completion_type": "CHAIN",
        "default_storage_engine": "MyISAM",
        "transaction_isolation": "SERIALIZABLE",
        "group_concat_max_len": 4,
        "innodb_lock_wait_timeout": 1,
        "lock_wait_timeout": 1,
        "wait_timeout": 2,
        "net_read_timeout": 1,
        "sql_safe_updates": 1,
        "foreign_key_checks": 0,
        "unique_checks": 0,
    }
    known = dict(system.sql("SHOW GLOBAL VARIABLES"))
    before = {name: known[name] for name in changed if name in known}
    for values in (changed, before):
        for name in before:
            value = str(values[name])
            system.sql(f"SET GLOBAL {name} = {value if value.isdecimal() else repr(value)}")
        system.cut_sessions()
        system.until_caught_up()


@action()
def too_many_connections(system: System) -> None:
    [(before,)] = system.sql("SELECT @@GLOBAL.max_connections")
    with system.session() as other:
        other.cursor().execute("SET GLOBAL max_connections = 1")
        system.cut_sessions()
        system.wait_for_log("Too many connections")
        other.cursor().execute(f"SET GLOBAL max_connections = {before}")


@action()
def deadlock(system: System) -> None:
    """A session holds an order_id that the sink needs, then requests the ledger row that the sink holds."""
    number = system.rng.randrange(10**9, 10**12)
    before = system.positions()[0]
    until(lambda: system.positions()[0] != before, system.sink)  # so that no earlier fault holds locks
    with system.session() as other:
        cursor = other.cursor()
        # The server rolls back the transaction that has written less. Make that the sink's.
        cursor.execute("CREATE TEMPORARY TABLE ballast (id INT PRIMARY KEY AUTO_INCREMENT, text CHAR(100))")
        cursor.executemany("INSERT INTO ballast (text) VALUES (%s)", [("x",)] * 3000)
        _hold(cursor, number)
        system.send(number, 1, partition=0)
        until(lambda: _lock_waits(system), system.sink)
        cursor.execute("SELECT next_offset FROM orders_ledger WHERE kafka_partition = 0 FOR UPDATE")
        cursor.fetchall()
        other.rollback()
    system.until_caught_up()
    assert is_stored(system, number)


@action()
def lock_timeout(system: System) -> None:
    number = system.rng.randrange(10**9, 10**12)
    with system.session() as other:
        _hold(other.cursor(), number)
        system.send(number, 1, partition=0)
        until(lambda: _lock_waits(system), system.sink)
        first = _lock_waits(system)
        until(lambda: _lock_waits(system) - first, system.sink)  # its first wait has timed out, and it waits again
        other.rollback()
    system.until_caught_up()
    assert is_stored(system, number)


def _hold(cursor: Any, number: int) -> None:
    cursor.execute(
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        f" order_timestamp) VALUES (1, 'ORDER-{number}', 'x', 'x', 1, 1, 1, NOW())"
    )


def _lock_waits(system: System) -> set[tuple[object, ...]]:
    """The waits for row locks. MySQL cannot show innodb_trx while a statement with other bytes than UTF-8 waits."""
    if system.database.program.kind == "mariadb":
        waits = "SELECT trx_id, trx_wait_started FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    else:
        waits = "SELECT requesting_engine_transaction_id FROM performance_schema.data_lock_waits"
    return set(system.sql(waits))


@action()
def restored_to_an_older_state(system: System) -> None:
    """Data and ledger are restored together. The sink reads the later orders from Kafka again, without a command."""
    database, data = system.database, system.database.folder / "data"
    backup = system.folder / "backup"
    database.stop()
    shutil.copytree(data, backup)
    system.restart(database)
    system.until_caught_up()
    before = sum(system.positions().values())
    database.kill()
    shutil.rmtree(data)
    backup.rename(data)
    system.restart(database)
    until(lambda: sum(system.positions().values()) > before, system.sink)


@action()
def local_infile_switched_off(system: System) -> None:
    """Meanwhile the sink uses INSERT. Sessions that start after the variable is on again use LOAD DATA."""
    system.sql("SET GLOBAL local_infile = OFF")
    system.plan("insert_orders.before", "1213")
    system.until_taken()
    system.until_it_stores()
    system.sql("SET GLOBAL local_infile = ON")
    system.cut_sessions()


@action()
def clock_set_back(system: System) -> None:
    """The sink reads only the server's clock, which here always shows the same moment in 2001."""
    system.sql("SET GLOBAL init_connect = 'SET timestamp = 1000000000'")
    system.cut_sessions()
    until(lambda: system.sql("SELECT 1 FROM orders WHERE stored_at < '2002-01-01' LIMIT 1"), system.sink)
    system.sql("SET GLOBAL init_connect = ''")
    system.cut_sessions()


@action()
def summer_time_begins_and_ends(system: System) -> None:
    """The server's time zone shifts by an hour. Orders fall in the hour that is skipped and in the repeated one."""
    for zone in ("+02:00", "+01:00"):
        system.sql(f"SET GLOBAL time_zone = '{zone}'")
        system.cut_sessions()
        for month in (3, 10):
            moment = datetime(2025, month, 30 if month == 3 else 26, 2, 30, tzinfo=UTC).timestamp()
            system.send(system.rng.randrange(10**9, 10**12), 3, clock=lambda moment=moment: moment)  # type: ignore[misc]
        system.until_caught_up()
    system.sql("SET GLOBAL time_zone = 'SYSTEM'")
    hours = "SELECT COUNT(*) FROM orders WHERE order_timestamp IN ('2025-03-30 02:30:00', '2025-10-26 02:30:00')"
    assert system.sql(hours)[0][0] >= 12
