"""Debezium's JDBC sink on Kafka Connect."""

from __future__ import annotations

import json
import os

from benchmarks.arena import Arena
from benchmarks.rivals import rival_jars
from benchmarks.rivals.rival import Rival, jdbc_url
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.jvm import java
from orderflow.settings import Settings

_DECIMAL = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}
_SCHEMA = {
    "type": "struct",
    "fields": [
        {"field": "customer_id", "type": "int32"},
        {"field": "order_id", "type": "string"},
        {"field": "product_name", "type": "string"},
        {"field": "product_category", "type": "string"},
        {"field": "unit_price", **_DECIMAL},
        {"field": "quantity", "type": "int32"},
        {"field": "total_price", **_DECIMAL},
        {"field": "order_timestamp", "type": "string"},
    ],
}
_WORKER = """\
bootstrap.servers={kafka}
listeners=http://127.0.0.1:{port}
plugin.discovery=service_load
offset.storage.file.filename={folder}/offsets
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.decimal.format=NUMERIC
value.converter.schema.content={schema}
config.providers=env
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
"""
_CONNECTOR = """\
name={group}
connector.class=io.debezium.connector.jdbc.JdbcSinkConnector
tasks.max=3
topics={topic}
consumer.override.max.poll.records=5000
batch.size=5000
connection.url={url}
connection.username=${{env:MYSQL_USER}}
connection.password=${{env:MYSQL_PASSWORD}}
collection.name.format={table}
insert.mode=upsert
primary.key.mode=record_value
primary.key.fields=order_id
schema.evolution=none
"""


class Debezium(Rival):
    """Kafka Connect in standalone mode, with the messages' schema in its configuration."""

    name = "Debezium JDBC sink"
    guarantees = "at least once; the last of two orders with one id wins"

    def _process(self, arena: Arena, settings: Settings) -> Process:
        folder = arena.folder / f"connect-{settings.mysql_database}"
        folder.mkdir()
        (folder / "worker.properties").write_text(
            _WORKER.format(
                kafka=settings.kafka_bootstrap_servers, port=free_port(), folder=folder, schema=json.dumps(_SCHEMA)
            )
        )
        (folder / "connector.properties").write_text(
            _CONNECTOR.format(
                group=settings.mysql_database,
                topic=settings.kafka_topic,
                url=jdbc_url(settings),
                table=settings.mysql_table,
            )
        )
        return arena.command(
            self.name,
            settings,
            [
                java.find().command,
                *("-Xms256m", "-Xmx2g", "-Dlog4j2.level=WARN"),  # the heap of Kafka's own script
                "org.apache.kafka.connect.cli.ConnectStandalone",
                *(str(folder / "worker.properties"), str(folder / "connector.properties")),
            ],
            {"CLASSPATH": os.pathsep.join(map(str, rival_jars.paths("debezium")))},
        )
