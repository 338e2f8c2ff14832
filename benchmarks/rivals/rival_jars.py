"""The rivals' jars, in a separate lock file: only `python -m benchmarks rivals` downloads them."""

from __future__ import annotations

from pathlib import Path

from orderflow.jvm import jars

LOCK = Path(__file__).with_name("jars.lock")
_DRIVER = "com.mysql:mysql-connector-j:9.7.0"
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
ROOTS = {
    "driver": [_DRIVER],
    "debezium": [
        "org.apache.kafka:connect-runtime:4.3.1",
        "org.apache.kafka:connect-json:4.3.1",
        "io.debezium:debezium-connector-jdbc:3.6.0.Final",
        "org.hibernate.orm:hibernate-agroal:7.2.0.Final",
        _DRIVER,
        _LOGGING,
    ],
    "flink": [
        "org.apache.flink:flink-clients:2.2.1",
        "org.apache.flink:flink-connector-base:2.2.1",
        "org.apache.flink:flink-json:2.2.1",
        "org.apache.flink:flink-sql-gateway:2.2.1",
        "org.apache.flink:flink-table-api-java-bridge:2.2.1",
        "org.apache.flink:flink-table-planner-loader:2.2.1",
        "org.apache.flink:flink-table-runtime:2.2.1",
        "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
        "org.apache.flink:flink-connector-jdbc-core:4.0.0-2.0",
        "org.apache.flink:flink-connector-jdbc-mysql:3.3.0-1.20",
        _DRIVER,
        _LOGGING,
    ],
}
# Drivers of other databases, and the former name of hibernate-agroal.
_WITHOUT = {
    "com.microsoft.sqlserver:mssql-jdbc",
    "com.oracle.database.jdbc:ojdbc11",
    "org.hibernate:hibernate-agroal",
    "org.mariadb.jdbc:mariadb-java-client",
    "org.postgresql:postgresql",
}


def paths(group: str) -> list[Path]:
    """Return the group's jars. Raises StartFailed."""
    return jars.paths(group, LOCK)


if __name__ == "__main__":
    from orderflow.jvm import write_jar_lock

    write_jar_lock.write(LOCK, ROOTS, lambda _, jar: jar in _WITHOUT)
