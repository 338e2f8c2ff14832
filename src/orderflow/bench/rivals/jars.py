"""The rivals' jars, in a lock of their own: only `orderflow bench rivals` downloads them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from orderflow.embedded import jars

LOCK = Path(__file__).with_name("jars.lock")
_DRIVER = "com.mysql:mysql-connector-j:9.7.0"
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
ROOTS = {
    "spark": [f"org.apache.spark:spark-sql-kafka-0-10_2.13:{metadata.version('pyspark')}", _DRIVER],
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
# Drivers of other databases; and the name under which hibernate-agroal is no more.
_WITHOUT = {
    "com.microsoft.sqlserver:mssql-jdbc",
    "com.oracle.database.jdbc:ojdbc11",
    "org.hibernate:hibernate-agroal",
    "org.mariadb.jdbc:mariadb-java-client",
    "org.postgresql:postgresql",
}


def paths(group: str) -> list[Path]:
    """The group's jars. Raises StartFailed."""
    return jars.paths(group, LOCK)


def _left_out(group: str, jar: str) -> bool:
    """A second version of what pyspark ships, beside Spark's own, would be a gamble."""
    import pyspark

    shipped = Path(pyspark.__file__).parent / "jars"
    return jar in _WITHOUT or (group == "spark" and any(shipped.glob(f"{jar.partition(':')[2]}-[0-9]*.jar")))


if __name__ == "__main__":
    from orderflow.embedded import lock

    lock.write(LOCK, ROOTS, _left_out)
