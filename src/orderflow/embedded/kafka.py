"""Apache Kafka brokers from the Maven jars. Each broker is also a KRaft controller."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from orderflow.embedded.ports import free_port
from orderflow.embedded.process import LocalServer
from orderflow.jvm import jars, java

# Retention is unlimited, so that an audit can read every record. The internal topics have one partition, because 50
# folders slow the start. After a kill, the broker waits until its previous session times out: 9 s by default. Paths are
# relative, because this file is read as Latin-1, and a comma separates two folders.
_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
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
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
"""
_MAX_REPLICAS = 3


class Quorum(NamedTuple):
    """The controller ports of a cluster's brokers, and the file with the cluster's id."""

    ports: Sequence[int]
    id_file: Path


class Kafka(LocalServer):
    """A broker: the only one of its cluster, or number `node` (from 1) of a `quorum`."""

    def __init__(self, folder: Path, port: int, node: int = 1, quorum: Quorum | None = None) -> None:
        self.name = f"Kafka {node}" if quorum else "Kafka"
        self._node, self._quorum = node, quorum
        super().__init__(folder, port)

    def describe(self) -> str:
        [version] = [c.split(":")[2] for c in jars.locked("kafka") if c.startswith("org.apache.kafka:kafka_")]
        return f"Apache Kafka {version}, embedded"

    def _script(self) -> str:
        controllers = self._quorum.ports if self._quorum else [free_port()]
        replicas = min(_MAX_REPLICAS, len(controllers))
        properties = _PROPERTIES.format(
            node=self._node,
            port=self.port,
            controller_port=controllers[self._node - 1],
            voters=",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(controllers, start=1)),
            replicas=replicas,
            in_sync=min(2, replicas),  # with three replicas, one broker may be unavailable
        )
        (self.folder / "server.properties").write_text(properties)
        jdk, classpath = java.find(), jars.paths("kafka")
        run = shlex.join([jdk.command, "-Xmx512m", *jdk.options("kafka", *classpath), "-Dlog4j2.level=WARN"])
        format_storage = f"{run} kafka.tools.StorageTool format -t {self._cluster_id()} -c server.properties"
        return (
            f"export CLASSPATH={shlex.quote(os.pathsep.join(map(str, classpath)))}\n"
            # Formatting writes meta.properties last.
            f"[ -e data/meta.properties ] || {format_storage} || exit\n"
            f"exec {run} kafka.Kafka server.properties\n"
        )

    def _probe(self) -> Callable[[], bool]:
        client = AdminClient({"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 100, "log_level": 0})

        def serves() -> bool:
            try:
                metadata = client.list_topics(timeout=0.2)
            except KafkaException:
                return False
            return bool(metadata.cluster_id == self._cluster_id() and self._node in metadata.brokers)

        return serves

    def _cluster_id(self) -> str:
        """Created once; the probe uses it to detect another broker on the port."""
        path = self._quorum.id_file if self._quorum else self.folder / "cluster-id"
        if not path.exists():
            path.write_text(base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("="))
        return path.read_text()


def cluster(folder: Path, ports: Sequence[int]) -> list[Kafka]:
    """A broker for each port. With three or more, each record has three replicas, of which two must acknowledge it."""
    if len(ports) == 1:
        return [Kafka(folder / "kafka", ports[0])]
    quorum = Quorum([free_port() for _ in ports], folder / f"cluster-id-of-{len(ports)}")
    return [Kafka(folder / f"kafka-{node}-of-{len(ports)}", port, node, quorum) for node, port in enumerate(ports, 1)]
