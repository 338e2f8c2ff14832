"""The checks of the database server: logins, version, variables, clock."""

from __future__ import annotations

from datetime import UTC, datetime

from orderflow.cli.doctor.checked_system import CheckedSystem, Result, Status
from orderflow.store import server
from orderflow.store.connection import Connection

_MAX_CLOCK_DIFFERENCE = 5.0  # seconds
_SMALL_PACKET = 4 * 2**20  # bytes: an INSERT of 1,000 orders with the longest texts has 2 MB


def check_login(system: CheckedSystem) -> Result:
    kind = "MariaDB" if system.server.is_mariadb else "MySQL"
    transport = server.encryption(system.settings)
    if transport and not system.settings.mysql_ssl_ca:
        transport += ", certificate not verified"
    user = f"user {system.settings.mysql_user} can log in over {transport or 'plain text'}"
    return "ok", f"{kind} at {system.settings.database_address}: {user}"


def check_reader_login(system: CheckedSystem) -> Result:
    reader = system.settings.for_reading
    with Connection(reader, database=False):
        return "ok", f"user {reader.mysql_user} can log in, for dashboard, status, track, top and audit"


def check_version(system: CheckedSystem) -> Result:
    version, is_mariadb = system.server.version, system.server.is_mariadb
    oldest = server.MIN_VERSIONS["mariadb" if is_mariadb else "mysql"]
    if system.server.release >= oldest:
        return "ok", version
    hint = f"Use {'MariaDB' if is_mariadb else 'MySQL'} {'.'.join(map(str, oldest))} or newer."
    if is_mariadb:
        return "warning", f"{version} is older than the supported versions", hint
    return "error", f"{version} has no invisible columns", hint


def check_writing(system: CheckedSystem) -> Result:
    enabled = [
        name
        for name, value in system.server_variables.items()
        if name in server.READ_ONLY and value not in ("OFF", "0")
    ]
    if not enabled:
        return "ok", "the server accepts writes"
    # Some administrators can still write.
    status: Status = "warning" if enabled == ["read_only"] else "error"
    return (
        status,
        f"{', '.join(enabled)} is on: the sink waits until the server accepts writes",
        "If MYSQL_HOST is the primary: " + " ".join(f"SET GLOBAL {name} = OFF;" for name in enabled),
    )


def check_binary_log(system: CheckedSystem) -> Result:
    if system.server_variables.get("log_bin") != "ON":
        return "ok", "off"
    binlog_format = system.server_variables.get("binlog_format", "ROW")
    if binlog_format == "STATEMENT":
        return (
            "error",
            "binlog_format is STATEMENT: the server refuses READ COMMITTED transactions",
            "SET GLOBAL binlog_format = ROW; and set it in the server's configuration.",
        )
    return "ok", f"on, with binlog_format {binlog_format}"


def check_packets(system: CheckedSystem) -> Result:
    size = int(system.server_variables["max_allowed_packet"])
    if size < _SMALL_PACKET:
        return (
            "warning",
            f"max_allowed_packet is {size:,} bytes: the server may refuse statements with long texts",
            "SET GLOBAL max_allowed_packet = 67108864; and set it in the server's configuration.",
        )
    return "ok", f"max_allowed_packet is {size / 2**20:,.0f} MB"


def check_local_infile(system: CheckedSystem) -> Result:
    if not system.server.local_infile:
        return (
            "warning",
            "off: the sink writes with INSERT, which is slower than LOAD DATA",
            "SET GLOBAL local_infile = ON; and set it in the server's configuration.",
        )
    return "ok", "on: the sink writes with LOAD DATA"


def check_sql_mode(system: CheckedSystem) -> Result:
    return "ok", f"{system.server.sql_mode or 'empty'}; the sink sets its own strict mode in each session"


def check_durability(system: CheckedSystem) -> Result:
    weak = []
    if system.server.flush_log_at_commit != 1:
        weak.append(("innodb_flush_log_at_trx_commit", system.server.flush_log_at_commit))
    if system.server.log_bin and system.server.sync_binlog != 1:
        weak.append(("sync_binlog", system.server.sync_binlog))
    if weak:
        return (
            "warning",
            f"{' and '.join(f'{name} is {value}' for name, value in weak)}: a server crash may lose the last"
            " commits; the sink then stores their orders again",
            " ".join(f"SET GLOBAL {name} = 1;" for name, _ in weak),
        )
    return "ok", "each commit is on disk before it is acknowledged"


def check_clock(system: CheckedSystem) -> Result:
    before = datetime.now(UTC)
    server_now = server.read(system.settings).now.replace(tzinfo=UTC)
    after = datetime.now(UTC)
    # The server read its clock between the two times: only a time outside them is a clock error.
    seconds = max((before - server_now).total_seconds(), (server_now - after).total_seconds(), 0.0)
    if seconds > _MAX_CLOCK_DIFFERENCE:
        return (
            "warning",
            f"this machine and the database differ by {seconds:,.0f} s",
            "Synchronize both with NTP. The shown ages and latencies are wrong; stored orders are correct.",
        )
    return "ok", f"this machine and the database agree within {max(seconds, 0.1):.1f} s"
