"""The checks of the brokers and of the topic."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from orderflow import topic
from orderflow.cli.doctor.checked_system import CheckedSystem, Result
from orderflow.errors import OrderFlowError, TopicMissing
from orderflow.plurals import counted
from orderflow.positions import start_checks
from orderflow.store.connection import Connection


def check_brokers(system: CheckedSystem) -> Result:
    topic.check_connection(system.settings)
    admin = AdminClient(topic.client_config(system.settings))
    with topic.translate_errors(system.settings, admin):
        cluster = admin.describe_cluster(request_timeout=topic.TIMEOUT).result()
    count = len(cluster.nodes)
    brokers = f"{counted(count, 'broker')} at {system.settings.kafka_bootstrap_servers}"
    return "ok", f"{brokers}, over {system.settings.kafka_security_protocol}"


def check_topic(system: CheckedSystem) -> Result:
    try:
        topic_info = system.topic_info
    except TopicMissing as missing:
        try:
            with Connection(system.settings) as connection:
                start_checks.check_not_deleted(system.settings, connection, missing)
        except TopicMissing as deleted:
            return "error", deleted.message, deleted.hint
        except OrderFlowError:  # the checks of the database report it
            pass
        return "warning", missing.message, missing.hint
    return "ok", f"{topic_info.name} with {counted(len(topic_info.partitions), 'partition')}, id {topic_info.topic_id}"


def check_compaction(system: CheckedSystem) -> Result:
    if (policy := topic.check_cleanup_policy(system.settings)) is None:
        return (
            "warning",
            f"the user may not read cleanup.policy of {system.settings.kafka_topic}: with compaction, Kafka removes"
            " records that are not stored yet",
            "Grant DescribeConfigs, as `orderflow init --grants` prints, or check that cleanup.policy is delete.",
        )
    return "ok", f"none: cleanup.policy is {policy or 'empty'}"
