"""Runs SQL as a user would, without the store."""

from __future__ import annotations

from typing import Any

import mysql.connector

from orderflow.settings import Settings


def select(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    return _run(settings, statement)


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


def _run(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    with raw_session(settings, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
