"""Flink SQL: declares both tables, and runs INSERT INTO … SELECT."""

from __future__ import annotations

import os

from benchmarks.arena import Arena
from benchmarks.rivals import rival_jars
from benchmarks.rivals.rival import Rival, jdbc_url
from orderflow.embedded.process import Process
from orderflow.jvm import java
from orderflow.settings import Settings

_COLUMNS = (
    "customer_id INT, order_id STRING, product_name STRING, product_category STRING,"
    " unit_price DECIMAL(10, 2), quantity INT, total_price DECIMAL(10, 2), order_timestamp TIMESTAMP(0)"
)
_SCRIPT = """\
CREATE TABLE messages ({columns}) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '{kafka}',
  'properties.group.id' = '{group}',
  'topic' = '{topic}',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true',
  'json.timestamp-format.standard' = 'ISO-8601'
);
CREATE TABLE orders ({columns}, PRIMARY KEY (order_id) NOT ENFORCED) WITH (
  'connector' = 'jdbc',
  'url' = '{url}',
  'table-name' = '{table}',
  'username' = '{user}',
  'password' = '{password}',
  'sink.buffer-flush.max-rows' = '5000',
  'sink.buffer-flush.interval' = '50ms'
);
INSERT INTO orders SELECT * FROM messages;
"""
_CONFIGURATION = """\
execution.target: local
execution.checkpointing.interval: 1s
execution.checkpointing.dir: file://{folder}/checkpoints
parallelism.default: 3
table.dml-sync: true
taskmanager.memory.managed.size: 16m
"""
# The same --add-opens as in Flink's own scripts.
_OPENED = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.text", "java.time", "java.util")
]


class Flink(Rival):
    """All of Flink in one JVM, like a local PyFlink job."""

    name = "Flink SQL"
    guarantees = "at least once; the last of two orders with one id wins"

    def _process(self, arena: Arena, settings: Settings) -> Process:
        folder = arena.folder / f"flink-{settings.mysql_database}"
        folder.mkdir()
        (folder / "config.yaml").write_text(_CONFIGURATION.format(folder=folder))
        (folder / "script.sql").write_text(
            _SCRIPT.format(
                columns=_COLUMNS,
                kafka=settings.kafka_bootstrap_servers,
                group=settings.mysql_database,
                topic=settings.kafka_topic,
                url=jdbc_url(settings),
                table=settings.mysql_table,
                user=settings.mysql_user,
                password=settings.mysql_password,
            )
        )
        classpath = rival_jars.paths("flink")
        [program] = [jar for jar in classpath if jar.name.startswith("flink-table-runtime-")]
        return arena.command(
            self.name,
            settings,
            [
                *("/bin/sh", "-c", 'exec "$@" >/dev/null', "flink"),  # it echoes the script including the password
                java.find().command,
                *_OPENED,
                *("-Xmx2g", "-Duser.timezone=UTC", "-Dlog4j2.level=WARN"),
                *("org.apache.flink.client.cli.CliFrontend", "run"),
                *("--class", "org.apache.flink.table.runtime.application.SqlDriver", str(program)),
                *("--scriptUri", f"file://{folder}/script.sql"),
            ],
            {"CLASSPATH": os.pathsep.join(map(str, classpath)), "FLINK_CONF_DIR": str(folder)},
        )
