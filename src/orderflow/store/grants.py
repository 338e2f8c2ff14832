"""The database users OrderFlow needs, each with the rights its commands use and no others.

Rejected: rights on the whole database. What else is in it is nobody's business here, and nobody needs DELETE or DROP.
"""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.settings import Settings
from orderflow.store import statements

_SINK = {
    "orders": "SELECT, INSERT",
    "ledger": "SELECT, INSERT, UPDATE",
    "quarantine": "SELECT, INSERT, UPDATE",
    "parts": "SELECT, INSERT",
    "losses": "SELECT, INSERT",
    "audits": "SELECT, INSERT",
    "by_minute": "SELECT, INSERT, UPDATE",
    "per_minute": "SELECT",
    "per_day": "SELECT",
    "per_reason": "SELECT",
}
_READER = dict.fromkeys(_SINK, "SELECT")


def grants(settings: Settings) -> Iterator[str]:
    """The statements for an administrator to run, once the tables are there.

    The users are MYSQL_USER, unless that is root, and MYSQL_READER_USER; else orderflow_sink and orderflow_reader.
    """
    encryption = " REQUIRE SSL" if settings.mysql_ssl_ca else ""
    names = statements.table_names(settings)
    sink = "orderflow_sink" if settings.mysql_user == "root" else settings.mysql_user
    reader = settings.mysql_reader_user or "orderflow_reader"
    for name, rights in ((sink, _SINK), (reader, _READER)):
        user = "'" + name.replace("'", "''") + "'@'%'"
        yield statements.sql("create_user", settings, user=user, encryption=encryption) + ";"
        for table, privileges in rights.items():
            table_name = f"`{names[table]}`"
            yield statements.sql("grant", settings, privileges=privileges, table=table_name, user=user) + ";"
