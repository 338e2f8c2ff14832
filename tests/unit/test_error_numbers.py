"""The table of error numbers: each has one meaning, the name of the client's list, and an entry in the docs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from unittest import mock

import msgspec
import mysql.connector
import pytest
from mysql.connector import errorcode

from orderflow.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    OrderFlowError,
    OutOfResources,
    TransactionTooLarge,
)
from orderflow.settings import Settings
from orderflow.store import error_numbers
from orderflow.store.connection import Connection, classify
from orderflow.store.error_numbers import (
    CONTENTION,
    NO_LOCAL_INFILE,
    REFUSED_GROUPS,
    ROW_AT_FAULT,
    TOO_LARGE_TRANSACTION,
    UNAVAILABLE_GROUPS,
)

ALL = [
    *(CONTENTION, NO_LOCAL_INFILE, ROW_AT_FAULT, TOO_LARGE_TRANSACTION),
    *(group.numbers for group in (*UNAVAILABLE_GROUPS, *REFUSED_GROUPS)),
]
NAMES = {number: name for numbers in ALL for number, name in numbers.items()}
# Numbers with another meaning in MariaDB, and file system errors, which have no names in the client.
MARIADB = {1916, 1917, 1918, 1927, 1932, 1964, 1969, 4025, 4139, 4145, 4150, 4151, 4166}
# Errors that a write or a login may cause, by MySQL's names.
FAMILIES = re.compile(
    r"^ER_OUT_OF_(MEMORY|RESOURCES|SORTMEMORY)|OUTOFMEMORY|DISK_FULL|READ_ONLY_MODE|OFFLINE_MODE|LOCK_DEADLOCK"
    r"|LOCK_WAIT_TIMEOUT|LOCK_TABLE_FULL|HOST_NOT_PRIVILEGED|HOST_IS_BLOCKED|^ER_ACCESS_DENIED|MUST_CHANGE_PASSWORD"
    r"|ACCOUNT_HAS_BEEN_LOCKED|SECURE_TRANSPORT_REQUIRED|GR_HOLD|GRP_TRX_CONSISTENCY_(BEFORE|AFTER)|QUERY_TIMEOUT"
    r"|TEMP_FILE_WRITE|TRANS_CACHE_FULL|BINLOG_STMT_MODE_AND_ROW|TABLE_DEF_CHANGED|TOO_MANY_USER_CONN|CON_COUNT"
    r"|CHECK_CONSTRAINT_VIOLATED|NET_(READ|WRITE)_(ERROR|INTERRUPTED)|AUTH_PLUGIN_(ERR|CANNOT_LOAD)|SERVER_SHUTDOWN"
)


def test_each_error_number_is_in_one_group() -> None:
    assert {number for number, count in Counter(n for numbers in ALL for n in numbers).items() if count > 1} == set()


def test_error_names_are_those_of_the_mysql_client() -> None:
    client_names = {number: name for name, number in reversed(vars(errorcode).items()) if isinstance(number, int)}
    for number, name in NAMES.items():
        if number >= 1000 and number not in MARIADB:
            assert re.sub(r"^(OBSOLETE_)?(ER_)?(OBSOLETE_)?", "", client_names[number]) == name, number


@pytest.mark.parametrize(
    ("number", "name"), sorted((n, name) for name, n in vars(errorcode).items() if FAMILIES.search(name))
)
def test_every_error_number_of_these_names_is_listed(number: int, name: str) -> None:
    assert number in NAMES, name


CLASSES: dict[type[OrderFlowError], str] = {
    DatabaseRefused: "refused",
    DatabaseUnavailable: "unavailable",
    TransactionTooLarge: "too large transaction",
}
# Instead of a hint, for errors that are retried, and for those that only turn LOAD DATA LOCAL off.
RETRIED = "None. If it stays, look at the server's error log."
LOCKED = "None. If it stays, end the session that holds the locks: `SHOW PROCESSLIST`."
SLOWER = "To turn `local_infile` on: `orderflow doctor` shows how."


def test_the_documentation_has_every_number() -> None:
    page = Path(__file__).parents[2].joinpath("docs/database-errors.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(str(number), NAMES[number], *_reaction(number)) for number in sorted(NAMES)]
    classes = page.split("## Error numbers")[0]
    assert {row[2] for row in rows} < {*re.findall(r"^\| (.*?) \|", classes, re.MULTILINE)}


def _reaction(number: int) -> tuple[str, str, str]:
    """Return the class, the problem and the hint of the number, as the page shows them."""
    if number in NO_LOCAL_INFILE:
        return "no LOAD DATA LOCAL", "does not allow LOAD DATA LOCAL", SLOWER
    if number in CONTENTION:
        return "contention", "has a deadlock or a lock timeout", LOCKED
    settings = msgspec.structs.replace(Settings(), mysql_user="*user*", mysql_database="*database*")
    error = classify(mysql.connector.Error("why", errno=number), settings)
    problem = error.message.removeprefix(f"MySQL at {settings.database_address} ").removesuffix(
        f": why (error {number})."
    )
    return "refused row" if number in ROW_AT_FAULT else CLASSES[type(error)], problem, error.hint or RETRIED


@pytest.mark.parametrize("number", [-1, None, 2002, 2003, 2006, 2013, 2055])
def test_an_error_without_a_reply_is_an_error_of_the_connection(number: int | None) -> None:
    assert error_numbers.is_client_error(number)


def test_too_few_descriptors_are_a_shortage_of_this_machine() -> None:
    error = classify(mysql.connector.Error("Can't create TCP/IP socket (24)", errno=2001), Settings())
    assert isinstance(error, OutOfResources) and "ulimit -n" in error.hint


@pytest.mark.parametrize("number", NO_LOCAL_INFILE)
def test_a_refusal_of_load_data_is_another_error_while_the_client_connects(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = mysql.connector.Error("not allowed", errno=number)
    monkeypatch.setattr(mysql.connector, "connect", mock.Mock(side_effect=refused))
    with pytest.raises(OrderFlowError, match="not allowed"):
        Connection(Settings())
