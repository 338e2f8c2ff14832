"""Runs SQL as a user would, without the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mysql.connector

from orderflow.settings import Settings


def select(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    return _run(settings, statement)


def select_all(settings: Settings, *statements: str) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each SELECT, over one connection."""
    with raw_session(settings) as session, session.cursor() as cursor:
        return [_fetch(cursor, statement) for statement in statements]


def execute(settings: Settings, statement: str) -> None:
    _run(settings, statement)


def raw_session(settings: Settings, *, autocommit: bool = False) -> Any:
    return mysql.connector.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        user=settings.mysql_user,
        password=settings.mysql_password,
        database=settings.mysql_database,
        collation="utf8mb4_bin",
        ssl_disabled=True,  # a TLS handshake takes longer than most tests
        autocommit=autocommit,
    )


@contextmanager
def global_variable(settings: Settings, name: str, value: str) -> Iterator[None]:
    """Set a global variable of the server for sessions that start while the block lasts. An older session resets it."""
    with raw_session(settings, autocommit=True) as session:
        cursor = session.cursor()
        cursor.execute(f"SELECT @@GLOBAL.{name}")
        [(before,)] = cursor.fetchall()
        cursor.execute(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            cursor.execute(f"SET GLOBAL {name} = %s", (before,))


def _fetch(cursor: Any, statement: str) -> list[tuple[Any, ...]]:
    cursor.execute(statement)
    return list(cursor.fetchall())


def _run(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    with raw_session(settings, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
