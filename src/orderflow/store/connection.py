"""One connection to MySQL or MariaDB: statements by name, and the server's error numbers turned into classes."""

from __future__ import annotations

import ssl  # noqa: F401 # where hashlib alone has loaded OpenSSL, the client's C extension would meet half of another
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import mysql.connector
from mysql.connector.abstracts import MySQLConnectionAbstract

from orderflow import tls
from orderflow.errors import Contention, DatabaseRefused, DatabaseUnavailable, OrderFlowError
from orderflow.settings import Settings
from orderflow.store import statements

CONNECT_TIMEOUT = 10  # seconds
# A server that is stopped but not closed (SIGSTOP, a cut cable) must not hold a transaction for ever.
ANSWER_TIMEOUT = 120  # seconds

# Numbers from MySQL's "Server Error Message Reference" and MariaDB's "MariaDB Error Codes".
CONTENTION = {
    1020,  # MariaDB: record has changed since the snapshot
    1205,  # lock wait timeout
    1213,  # deadlock
}
UNAVAILABLE = {
    1021,  # disk full
    1028,  # sort aborted
    1030,  # the storage engine failed
    1037, 1038, 1041,  # out of memory
    1040,  # too many connections
    1053,  # server shutdown
    1080,  # forced close of a thread
    1114,  # table full
    1129,  # host blocked after many failed attempts
    1135,  # cannot create a thread
    1152, 1158, 1159, 1160, 1161, 1184,  # network errors, aborted connections
    1180,  # error during commit
    1203, 1226,  # the user's connections or resources are used up
    1290,  # --read-only
    1317,  # interrupted
    1792, 1836,  # read-only transaction, read-only mode
    1927,  # MariaDB: connection was killed
    3169,  # session was killed
    3675,  # could not write to the binary log
    4031,  # disconnected for inactivity
}  # fmt: skip
NO_LOCAL_INFILE = {
    1148,  # MariaDB, MySQL before 8.0
    3948,
    4166,  # MariaDB 10.5 and later
}
ROW_AT_FAULT = {
    1048,  # column cannot be null
    1264, 1265, 1292, 1366, 1406, 1411, 1690,  # out of range, truncated, incorrect value, too long
    1300,  # invalid character string
    1452,  # foreign key
    1526,  # no partition for the value
    1644,  # a trigger's SIGNAL
    3819, 4025,  # check constraint, of MySQL and of MariaDB
}  # fmt: skip
TOO_LARGE_PACKET = 1153
UNKNOWN_DATABASE = 1049
ACCESS_DENIED = {1044, 1045, 1142, 1143, 1227, 1370, 1698, 3118}
_FIRST_CLIENT_ERROR, _LAST_CLIENT_ERROR = 2000, 2999
_CLIENT_REFUSALS = {2054, 2059, 2061}  # authentication plugins
_TLS_REFUSED = 2026


class LocalInfileOffError(Exception):
    """The server (no longer) takes LOAD DATA LOCAL."""


class RowsRefusedError(Exception):
    """The server refuses, or would change or leave out, a row for another reason than its key being taken."""


class Result(NamedTuple):
    """What a statement gave back: its rows, or how many rows it changed and how many warnings it left."""

    rows: list[tuple[Any, ...]]
    changed: int
    warnings: int


class Connection:
    """A connection in transaction mode (no autocommit), strict, READ COMMITTED, in UTC."""

    def __init__(self, settings: Settings, *, infile_folder: Path | None = None, database: bool = True) -> None:
        """Connect.

        `infile_folder` is the one folder the server may ask files of. `database=False` connects to the server
        alone. Raises DatabaseUnavailable or DatabaseRefused.
        """
        self._settings = settings
        options: dict[str, Any] = {"database": settings.mysql_database} if database else {}
        if infile_folder:
            options |= {"allow_local_infile_in_path": str(infile_folder)}
        options |= {
            "host": settings.mysql_host,
            "port": settings.mysql_port,
            "user": settings.mysql_user,
            "password": settings.mysql_password,
            **_tls_options(settings),
        }
        with self.errors_told(), _tls_refusal_told(settings, options):
            raw = mysql.connector.connect(
                charset="utf8mb4",
                collation="utf8mb4_bin",
                autocommit=False,
                connection_timeout=CONNECT_TIMEOUT,
                read_timeout=ANSWER_TIMEOUT,
                write_timeout=ANSWER_TIMEOUT,
                **options,
            )
            assert isinstance(raw, MySQLConnectionAbstract)
            self._raw = raw
            self._cursor = raw.cursor()  # one for all: each new one asks the server whether it is still there
        self.run("set_session")
        self.run("set_isolation")

    def run(self, statement: str, values: Sequence[object] = (), **placeholders: str) -> Result:
        """Execute the statement of this name.

        Raises Contention, DatabaseUnavailable, DatabaseRefused, by the server's error number.
        """
        text = statements.sql(statement, self._settings, **placeholders)
        with self.errors_told():
            self._cursor.execute(text, tuple(values))  # type: ignore[arg-type]
            rows = self._cursor.fetchall() if self._cursor.description else []
            return Result(rows, self._cursor.rowcount, self._cursor.warning_count)  # type: ignore[arg-type]

    def run_rows(self, statement: str, rows: Sequence[Sequence[object]]) -> Result:
        """Execute the statement of this name once, for at least one row of values, all of one length."""
        line = f"({statements.marks(rows[0])})"
        return self.run(statement, [value for row in rows for value in row], rows=", ".join([line] * len(rows)))

    def commit(self) -> None:
        """COMMIT. If the reply is lost, DatabaseUnavailable is raised and only the ledger knows the outcome."""
        with self.errors_told():
            self._raw.cmd_query("COMMIT")  # commit() of the C extension raises another class when it fails

    def rollback(self) -> None:
        """ROLLBACK."""
        with self.errors_told():
            self._raw.cmd_query("ROLLBACK")

    def close(self) -> None:
        """End the session; an open transaction is rolled back by the server."""
        with suppress(mysql.connector.Error):  # where the server is gone, the session has ended already
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def errors_told(self) -> Iterator[None]:
        """Turns the client's exceptions into ours, by the server's number."""
        try:
            yield
        except mysql.connector.Error as error:
            if error.errno in NO_LOCAL_INFILE:
                raise LocalInfileOffError from error
            if error.errno in ROW_AT_FAULT:
                raise RowsRefusedError(error.msg) from error
            raise classify(error, self._settings) from error


def _tls_options(settings: Settings) -> dict[str, Any]:
    mode = settings.mysql_ssl_mode or ("VERIFY_IDENTITY" if settings.mysql_ssl_ca else "PREFERRED")
    options: dict[str, Any] = {"ssl_verify_cert": mode != "PREFERRED", "ssl_verify_identity": mode == "VERIFY_IDENTITY"}
    files = {"ssl_ca": settings.mysql_ssl_ca, "ssl_cert": settings.mysql_ssl_cert, "ssl_key": settings.mysql_ssl_key}
    return options | {name: path for name, path in files.items() if path}


@contextmanager
def _tls_refusal_told(settings: Settings, options: dict[str, Any]) -> Iterator[None]:
    """Says what is wrong with the server's certificate; the client's C library does not."""
    try:
        yield
    except mysql.connector.Error as error:
        if error.errno != _TLS_REFUSED:
            raise
        try:
            mysql.connector.connect(**options, use_pure=True, connection_timeout=CONNECT_TIMEOUT).close()
        except mysql.connector.Error as again:
            if (cause := tls.cause(again)) is None:
                raise error from again
            what, hint = tls.told(cause, settings.mysql_host, "MYSQL_SSL_CA", "MYSQL_HOST")
            raise DatabaseRefused(f"MySQL at {settings.database_address} is not trusted: {what}.", hint=hint) from again
        raise


def classify(error: mysql.connector.Error, settings: Settings) -> OrderFlowError:
    """The class of error that a server's or client's error number belongs to."""
    where = f"MySQL at {settings.database_address}"
    told = f"{error.msg or error} (error {error.errno})"
    if error.errno in CONTENTION:
        return Contention(f"{where}: {told}.")
    if error.errno in UNAVAILABLE:
        return DatabaseUnavailable(f"{where} cannot take writes now: {told}.")
    if error.errno in ACCESS_DENIED or error.errno in _CLIENT_REFUSALS:
        who = "MYSQL_READER" if settings.mysql_user == settings.mysql_reader_user else "MYSQL"
        return DatabaseRefused(
            f"{where} refuses user {settings.mysql_user}: {told}.",
            hint=f"Check {who}_USER and {who}_PASSWORD (or {who}_PASSWORD_FILE), and grant the user what is missing.",
        )
    if error.errno == _TLS_REFUSED:
        return DatabaseRefused(
            f"{where} cannot be spoken to by TLS: {told}.",
            hint="Check MYSQL_SSL_MODE, MYSQL_SSL_CA, MYSQL_SSL_CERT and MYSQL_SSL_KEY.",
        )
    if error.errno == UNKNOWN_DATABASE:
        return DatabaseRefused(
            f"{where} has no database {settings.mysql_database} ({told}).",
            hint="`orderflow init` creates it, or name another in MYSQL_DATABASE.",
        )
    if error.errno == TOO_LARGE_PACKET:
        return DatabaseRefused(
            f"{where} takes no record of this size: {told}.", hint="Raise the server's max_allowed_packet."
        )
    if error.errno is None or error.errno < 0 or _FIRST_CLIENT_ERROR <= error.errno <= _LAST_CLIENT_ERROR:
        # A server that does not trust a client's certificate only hangs up.
        hint = "If it runs, it may not trust the certificate in MYSQL_SSL_CERT." if settings.mysql_ssl_cert else ""
        return DatabaseUnavailable(f"{where} does not answer: {told}.", hint=hint)
    return DatabaseRefused(f"{where} refuses a statement: {told}.", hint="`orderflow doctor` checks the tables.")
