"""One connection to MySQL or MariaDB: executes statements by name, and turns error numbers into error classes."""

from __future__ import annotations

import errno

# Import ssl before the MySQL client. If only hashlib was imported, the client's C extension loads parts of two OpenSSL
# versions.
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import mysql.connector
from mysql.connector._scripting import MySQLScriptSplitter
from mysql.connector.abstracts import MySQLConnectionAbstract

from orderflow import tls
from orderflow.errors import (
    SHORTAGE_HINTS,
    Contention,
    DatabaseRefused,
    DatabaseUnavailable,
    OrderFlowError,
    OutOfResources,
    TransactionTooLarge,
    UnknownDatabaseError,
)
from orderflow.settings import Settings
from orderflow.store import error_numbers, statements

# The client would look for the command DELIMITER in the whole statement, and change it there. A record's text with this
# word could thus alter the statement that stores it, or take the client minutes to search.
MySQLScriptSplitter.has_delimiter = staticmethod(lambda _code: False)  # type: ignore[assignment]

try:
    from _mysql_connector import MySQLInterfaceError as _ExtensionError  # type: ignore[import-not-found]
except ImportError:  # without the C extension
    _ExtensionError = mysql.connector.Error

CONNECT_TIMEOUT = 10  # seconds
# A server that hangs without closing the connection (SIGSTOP, a cut cable) must not block a transaction indefinitely.
ANSWER_TIMEOUT = 120  # seconds
# Statements that read or change a whole table may take hours: those of the audit and of schema changes. If the server's
# machine is gone, TCP keepalive ends the wait earlier: after about two hours with Linux's defaults.
LONG_ANSWER_TIMEOUT = 8 * 3600  # seconds

# Seconds without a statement after which the server ends the session. It also ends a session whose machine is gone,
# with its locks. The audit reads the topic between two statements, which may take long.
IDLE_TIMEOUT = 8 * 3600

# Both are shorter than ANSWER_TIMEOUT, so that the server reports what it waits for before the client gives up.
LOCK_WAIT = 50  # seconds, for a row lock
METADATA_LOCK_WAIT = 60  # seconds, for a table that an ALTER TABLE statement has locked

_FRAME_BYTES = 16 * 1024  # for the text of a statement without its values: 200 custom columns have up to 14 KB
# Bytes per value: a whole number or time; for a text, only its quotes, prefix and comma.
_VALUE_BYTES = 40

# By name for %(name)s, or in order for the %s of statements that have a list of values.
Values = Sequence[object] | Mapping[str, object]
_Row = TypeVar("_Row")


class LocalInfileOff(Exception):
    """The server does not accept LOAD DATA LOCAL, or no longer does."""


class RowsRefused(Exception):
    """The server refuses rows of a statement that writes orders, or would change them.

    `statement_error` is raised if no row is at fault. It is None if the error number identifies a row.
    """

    def __init__(
        self, message: str, *, number: int | None = None, statement_error: OrderFlowError | None = None
    ) -> None:
        super().__init__(message)
        self.number = number
        self.statement_error = statement_error


class StatementResult(NamedTuple):
    """The outcome of a statement: its rows, or the number of rows that it changed and of warnings that it caused."""

    rows: list[tuple[Any, ...]]
    changed: int
    warnings: int


class Connection:
    """A connection in transaction mode (no autocommit), strict, READ COMMITTED, in UTC."""

    def __init__(
        self,
        settings: Settings,
        *,
        infile_folder: Path | None = None,
        database: bool = True,
        lock_wait: int = LOCK_WAIT,
        answer_timeout: int = ANSWER_TIMEOUT,
        idle_timeout: int = IDLE_TIMEOUT,
    ) -> None:
        """Connect.

        - `infile_folder`: the only folder that the server may request files from
        - `database`: False connects without selecting a database
        - `lock_wait`: seconds that a statement waits for a row lock
        - `answer_timeout`: seconds that the client waits for a statement
        - `idle_timeout`: seconds without a statement after which the server ends the session

        Raises what `execute` raises.
        """
        self.settings = settings
        self._max_packet = 0  # bytes; 0 until `max_values_bytes` reads it
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
        with self.translate_errors(), _translate_tls_refusal(settings, options):
            raw = mysql.connector.connect(
                charset="utf8mb4",
                collation="utf8mb4_bin",
                autocommit=False,
                connection_timeout=CONNECT_TIMEOUT,
                read_timeout=answer_timeout,
                write_timeout=ANSWER_TIMEOUT,
                **options,
            )
            assert isinstance(raw, MySQLConnectionAbstract)
            self._raw = raw
            self._cursor = raw.cursor()  # one for all statements: creating a cursor pings the server
        limits = {"lock_wait": lock_wait, "metadata_lock_wait": METADATA_LOCK_WAIT, "idle_timeout": idle_timeout}
        try:
            self.execute("set_session", limits)
            self.execute("set_isolation")
        except BaseException:
            self.close()
            raise

    @property
    def max_values_bytes(self) -> int:
        """How many bytes the values of a statement may have, as `estimated_bytes` counts them."""
        if not self._max_packet:
            self._max_packet = int(self.execute("select_max_packet").rows[0][0])
        return max(self._max_packet - _FRAME_BYTES, self._max_packet // 2)

    def execute(self, statement: str, values: Values = (), **placeholders: str) -> StatementResult:
        """Execute the statement of this name.

        Raises Contention, DatabaseUnavailable, UnknownDatabaseError, OutOfResources, DatabaseRefused,
        TransactionTooLarge or LocalInfileOff, depending on the error's number.
        """
        return self.execute_text(statements.sql(statement, self.settings, **placeholders), values)

    def execute_text(self, text: str, values: Values = ()) -> StatementResult:
        """Execute this SQL. Raises what `execute` raises."""
        with self.translate_errors():
            self._cursor.execute(text, dict(values) if isinstance(values, Mapping) else tuple(values))  # type: ignore[arg-type]
            rows = self._cursor.fetchall() if self._cursor.description else []
            return StatementResult(rows, self._cursor.rowcount, self._cursor.warning_count)  # type: ignore[arg-type]

    def execute_rows(self, statement: str, rows: Sequence[Sequence[object]]) -> StatementResult:
        """Execute the statement of this name once, for one or more rows of values, all of the same length."""
        line = f"({statements.placeholders_for(rows[0])})"
        return self.execute(statement, [value for row in rows for value in row], rows=", ".join([line] * len(rows)))

    def execute_each(self, statement: str, rows: Sequence[Sequence[object]]) -> tuple[int, RowsRefused | None]:
        """Execute the statement for each row separately, all in one round trip, up to the first row that is refused.

        Rows that do not fit into the packet are not sent. Return the number of rows written before the refused row,
        and its error. Raises Contention and DatabaseUnavailable.
        """
        line = statements.sql(statement, self.settings, values=statements.placeholders_for(rows[0]))
        rows = next(split_by_size(rows, lambda row: len(line) + estimated_bytes(row), self.max_values_bytes))
        text = ";\n".join([line] * len(rows))
        written = 0
        try:
            with translate_row_errors(), self.translate_errors():
                self._cursor.execute(text, tuple(value for row in rows for value in row))  # type: ignore[misc]
                written += 1
                while self._cursor.nextset():
                    written += 1
        except RowsRefused as refusal:
            return written, refusal
        return written, None

    def commit(self) -> None:
        """Execute COMMIT. If the reply is lost, raises DatabaseUnavailable: then only the ledger shows the outcome."""
        with self.translate_errors():
            self._raw.cmd_query("COMMIT")  # the C extension's commit() raises another class when it fails

    def rollback(self) -> None:
        """Execute ROLLBACK."""
        with self.translate_errors():
            self._raw.cmd_query("ROLLBACK")

    def close(self) -> None:
        """End the session. The server rolls back an open transaction."""
        with suppress(mysql.connector.Error):  # if the server is gone, the session has already ended
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Translate the client's exceptions into OrderFlow's errors by the server's error number."""
        try:
            yield
        except (mysql.connector.Error, _ExtensionError) as raised:
            error = _as_error(raised)
            is_refused_load = error.errno in error_numbers.NO_LOCAL_INFILE and self._is_loading_data()
            if is_refused_load and not _is_signalled(error):
                raise LocalInfileOff from error
            if error_numbers.is_client_error(error.errno) and self._sent_too_much():
                error = mysql.connector.DatabaseError("The packet is too large", errno=error_numbers.PACKET_TOO_LARGE)
            raise classify(error, self.settings) from error

    def _is_loading_data(self) -> bool:
        """Whether the last statement is LOAD DATA, the only one that the writer replaces by another."""
        cursor = getattr(self, "_cursor", None)  # None while the client connects
        return cursor is not None and (cursor.statement or "").startswith("LOAD DATA")

    def _sent_too_much(self) -> bool:
        """Whether the last statement is larger than a packet: the server often ends the connection without an error."""
        statement = self._cursor.statement if self._max_packet else ""
        return len((statement or "").encode()) >= self._max_packet > 0


@contextmanager
def translate_row_errors() -> Iterator[None]:
    """Around a statement that writes orders, raise RowsRefused where the rows may be at fault.

    That covers every error except contention, unavailability and what is too large. A trigger's error with SQLSTATE
    45000, which is meant for this purpose, is about the row, whatever its number.
    """
    try:
        yield
    except (Contention, DatabaseUnavailable, DatabaseRefused, UnknownDatabaseError) as error:
        cause = error.__cause__
        if not isinstance(cause, mysql.connector.Error):
            raise
        signalled = _is_signalled(cause)
        is_not_about_rows = error_numbers.is_client_error(cause.errno) or cause.errno == error_numbers.PACKET_TOO_LARGE
        if not signalled and (
            is_not_about_rows or isinstance(error, (Contention, DatabaseUnavailable, TransactionTooLarge))
        ):
            raise
        is_row_at_fault = signalled or cause.errno in error_numbers.ROW_AT_FAULT
        raise RowsRefused(
            cause.msg or str(cause), number=cause.errno, statement_error=None if is_row_at_fault else error
        ) from cause


def estimated_bytes(values: Sequence[object]) -> int:
    """Return how many bytes these values have in a statement, at most: the client escapes some characters by two."""
    size = _VALUE_BYTES * len(values)
    for value in values:
        if isinstance(value, str):
            size += len(value) * (2 if value.isascii() else 4)
        elif isinstance(value, bytes):
            size += len(value) * 2
    return size


def split_by_size(rows: Iterable[_Row], size_of: Callable[[_Row], int], max_size: int) -> Iterator[list[_Row]]:
    """Yield the rows in portions of at most `max_size`, as `size_of` measures. A larger row is a portion of its own."""
    portion: list[_Row] = []
    total = 0
    for row in rows:
        size = size_of(row)
        if portion and total + size > max_size:
            yield portion
            portion, total = [], 0
        portion.append(row)
        total += size
    if portion:
        yield portion


def _is_misuse(error: mysql.connector.Error) -> bool:
    """Whether the client refused a call without a number: a bug in OrderFlow, which a retry does not fix."""
    return (error.errno or -1) < 0 and isinstance(
        error, mysql.connector.ProgrammingError | mysql.connector.InternalError
    )


def _is_signalled(error: mysql.connector.Error) -> bool:
    """Whether a trigger raised the error by SIGNAL: SQLSTATE 45000 is for users, who may set any number with it."""
    return (error.sqlstate or "").startswith("45")


def _as_error(raised: Exception) -> mysql.connector.Error:
    """Convert the errors of its own class that the C extension raises in some calls."""
    if isinstance(raised, mysql.connector.Error):
        return raised
    number, text, sqlstate = (getattr(raised, name, None) for name in ("errno", "msg", "sqlstate"))
    return mysql.connector.DatabaseError(text, errno=number, sqlstate=sqlstate)


def _tls_options(settings: Settings) -> dict[str, Any]:
    mode = settings.mysql_ssl_mode or ("VERIFY_IDENTITY" if settings.mysql_ssl_ca else "PREFERRED")
    options: dict[str, Any] = {"ssl_verify_cert": mode != "PREFERRED", "ssl_verify_identity": mode == "VERIFY_IDENTITY"}
    files = {"ssl_ca": settings.mysql_ssl_ca, "ssl_cert": settings.mysql_ssl_cert, "ssl_key": settings.mysql_ssl_key}
    return options | {name: path for name, path in files.items() if path}


@contextmanager
def _translate_tls_refusal(settings: Settings, options: dict[str, Any]) -> Iterator[None]:
    """Report what is wrong with the server's certificate, which the client's C library does not do.

    The C library has the same number for a handshake that ended because the server or a proxy stopped.
    """
    try:
        yield
    except mysql.connector.Error as error:
        if error.errno != error_numbers.TLS_REFUSED:
            raise
        try:
            mysql.connector.connect(**options, use_pure=True, connection_timeout=CONNECT_TIMEOUT).close()
        except mysql.connector.Error as second_error:
            cause = tls.find_tls_error(second_error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                reason, hint = tls.explain(cause, settings.mysql_host, "MYSQL_SSL_CA", "MYSQL_HOST")
                refusal = f"MySQL at {settings.database_address} is not trusted: {reason}."
                raise DatabaseRefused(refusal, hint=hint) from second_error
            if cause or second_error.errno == error_numbers.TLS_REFUSED:
                raise error from second_error
        raise DatabaseUnavailable(f"MySQL at {settings.database_address} ended the TLS handshake.") from error


def classify(error: mysql.connector.Error, settings: Settings) -> OrderFlowError:
    """Return the class of error that a server's or client's error number belongs to."""
    server = f"MySQL at {settings.database_address}"
    reason = f"{error.msg or error} (error {error.errno})"
    if error.errno in error_numbers.CONTENTION:
        return Contention(f"{server}: {reason}.", hint=error_numbers.CONTENTION_HINT)
    if group := error_numbers.group_of(error.errno, error_numbers.UNAVAILABLE_GROUPS):
        return DatabaseUnavailable(f"{server} {group.problem}: {reason}.", hint=group.hint)
    if group := error_numbers.group_of(error.errno, error_numbers.REFUSED_GROUPS):
        names = {
            "user": settings.mysql_user,
            "database": settings.mysql_database,
            "prefix": "MYSQL_READER" if settings.mysql_user == settings.mysql_reader_user else "MYSQL",
        }
        return DatabaseRefused(f"{server} {group.problem.format(**names)}: {reason}.", hint=group.hint.format(**names))
    if error.errno == error_numbers.NO_SOCKET:
        hint = SHORTAGE_HINTS[errno.EMFILE]
        return OutOfResources(f"This machine cannot open a connection to {server}: {reason}.", hint=hint)
    if error_numbers.is_client_error(error.errno) and not _is_misuse(error):
        # A server that does not trust a client's certificate only closes the connection.
        hint = "If the server runs, check that it trusts the certificate in MYSQL_SSL_CERT."
        return DatabaseUnavailable(f"{server} does not answer: {reason}.", hint=hint if settings.mysql_ssl_cert else "")
    if error.errno in error_numbers.TOO_LARGE_TRANSACTION:
        return TransactionTooLarge(
            f"{server} accepts no transaction of this size: {reason}.",
            hint="Raise max_binlog_cache_size, or the cluster's limit for a transaction.",
        )
    if error.errno in error_numbers.ROW_AT_FAULT:
        return DatabaseRefused(
            f"{server} refuses a row: {reason}.",
            hint="`orderflow doctor` checks the tables, and lists the triggers that this user may see.",
        )
    return UnknownDatabaseError(
        f"{server} raised an unknown error: {reason}.",
        hint="Look at the server's error log, and see docs/database-errors.md.",
    )
