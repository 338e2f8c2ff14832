"""An Apache Kafka broker of one node (KRaft: it is its own controller), from its Maven jars."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from orderflow.embedded import jars, java
from orderflow.embedded.process import LocalServer, free_port

# Every record is kept, so that an audit can read all there ever was. The inner topics get one
# partition: 50 folders slow the start. After a kill the
# broker waits until its former session has run out: 9 s by default. Paths are relative, for this file is
# read as Latin-1, and a comma would part two folders.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs=data
log.retention.ms=-1
auto.create.topics.enable=true
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""


class Kafka(LocalServer):
    name = "Kafka"

    def describe(self) -> str:
        [version] = [c.split(":")[2] for c in jars.locked("kafka") if c.startswith("org.apache.kafka:kafka_")]
        return f"Apache Kafka {version}, embedded"

    def _script(self) -> str:
        (self.folder / "server.properties").write_text(_PROPERTIES.format(port=self.port, controller_port=free_port()))
        found, classpath = java.find(), jars.paths("kafka")
        run = shlex.join([found.command, "-Xmx512m", *found.options("kafka", classpath), "-Dlog4j2.level=WARN"])
        format_storage = f"{run} kafka.tools.StorageTool format -t {self._cluster_id()} -c server.properties"
        return (
            f"export CLASSPATH={shlex.quote(os.pathsep.join(map(str, classpath)))}\n"
            # meta.properties is the last file that formatting writes.
            f"[ -e data/meta.properties ] || {format_storage} || exit\n"
            f"exec {run} kafka.Kafka server.properties\n"
        )

    def _probe(self) -> Callable[[], bool]:
        client = AdminClient({"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 100, "log_level": 0})

        def serves() -> bool:
            try:
                return bool(client.list_topics(timeout=0.2).cluster_id == self._cluster_id())
            except KafkaException:
                return False

        return serves

    def _cluster_id(self) -> str:
        """Made once; it tells this broker from any other that may answer on the port."""
        path = self.folder / "cluster-id"
        if not path.exists():
            path.write_text(base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("="))
        return path.read_text()
