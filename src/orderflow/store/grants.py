"""The database users that OrderFlow needs, each with exactly the privileges that its commands use.

Rejected: privileges on the whole database. It may hold other tables, and no user needs DELETE or DROP.
"""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.tables import TABLES

_SINK = {table.key: table.sink_privileges for table in TABLES}
_READER = dict.fromkeys(_SINK, "SELECT")


def grants(settings: Settings) -> Iterator[str]:
    """Yield the statements that an administrator executes once the tables exist.

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
