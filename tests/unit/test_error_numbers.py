"""The table of error numbers: each has one meaning, the name of the client's list, and an entry in the docs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import mysql.connector
import pytest
from mysql.connector import errorcode

from orderflow.errors import OutOfResources
from orderflow.settings import Settings
from orderflow.store import error_numbers
from orderflow.store.connection import classify
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


def test_a_number_has_one_meaning() -> None:
    assert {number for number, count in Counter(n for numbers in ALL for n in numbers).items() if count > 1} == set()


def test_names_are_those_of_the_clients_list() -> None:
    client_names = {number: name for name, number in reversed(vars(errorcode).items()) if isinstance(number, int)}
    for number, name in NAMES.items():
        if number >= 1000 and number not in MARIADB:
            assert re.sub(r"^(OBSOLETE_)?(ER_)?(OBSOLETE_)?", "", client_names[number]) == name, number


@pytest.mark.parametrize(
    ("number", "name"), sorted((n, name) for name, n in vars(errorcode).items() if FAMILIES.search(name))
)
def test_every_number_of_these_kinds_is_listed(number: int, name: str) -> None:
    assert number in NAMES, name


def test_the_documentation_has_every_number() -> None:
    page = Path(__file__).parents[2].joinpath("docs/database-errors.md").read_text("utf-8")
    documented = {int(number): name for number, name in re.findall(r"(\d+)\s+`([A-Z0-9_]+)`", page)}
    assert documented == NAMES
    text = " ".join(page.split())
    for group in (*error_numbers.UNAVAILABLE_GROUPS, *error_numbers.REFUSED_GROUPS):
        shown = f"**MySQL at … {group.problem}.** {group.hint}".strip()
        assert shown.format(user="*user*", database="*database*", who="MYSQL") in text


@pytest.mark.parametrize("number", [-1, None, 2002, 2003, 2006, 2013, 2055])
def test_an_error_without_a_reply_is_an_error_of_the_connection(number: int | None) -> None:
    assert error_numbers.is_client_error(number)


def test_too_few_descriptors_are_a_shortage_of_this_machine() -> None:
    error = classify(mysql.connector.Error("Can't create TCP/IP socket (24)", errno=2001), Settings())
    assert isinstance(error, OutOfResources) and "ulimit -n" in error.hint
