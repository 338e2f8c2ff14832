"""SQL as a person would type it, outside the store."""

from __future__ import annotations

from typing import Any

import mysql.connector

from orderflow.settings import Settings


def select(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    return _run(settings, statement)


def execute(settings: Settings, statement: str) -> None:
    _run(settings, statement)


def _run(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    with mysql.connector.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        user=settings.mysql_user,
        password=settings.mysql_password,
        database=settings.mysql_database,
        collation="utf8mb4_bin",
        autocommit=True,
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
