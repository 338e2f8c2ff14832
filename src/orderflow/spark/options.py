"""Converts OrderFlow's settings into options of Spark's Kafka source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orderflow.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOGIN_MODULES = {
    "SCRAM-SHA-512": "scram.ScramLoginModule",
    "SCRAM-SHA-256": "scram.ScramLoginModule",
    "PLAIN": "plain.PlainLoginModule",
}
_REDACTION = "spark.sql.redaction.options.regex"
_SECRET_OPTIONS = ("jaas", "keystore")  # Spark itself redacts names with `password`, `secret` and `token`


def kafka_options(settings: Settings) -> dict[str, str]:
    """Return options that read the topic's committed records and fail if records were lost."""
    return {
        "kafka.bootstrap.servers": settings.kafka_bootstrap_servers,
        "subscribe": settings.kafka_topic,
        "failOnDataLoss": "true",
        "includeHeaders": str(settings.kafka_headers == "keep").lower(),
        "kafka.isolation.level": "read_committed",
        "kafka.allow.auto.create.topics": "false",  # a deleted topic stays deleted, and the query reports it
        # After each poll, Spark discards the rest of what its client has fetched, and requests two offsets.
        "kafka.max.poll.records": "4000",
        **{f"kafka.{name}": value for name, value in _security(settings).items() if value},
    }


def offsets_json(topic: str, offsets: Mapping[int, int]) -> str:
    """Return offsets by partition in the format of the source's startingOffsets and endingOffsets."""
    return json.dumps({topic: {str(partition): offset for partition, offset in offsets.items()}})


def redact_secrets(spark: SparkSession) -> None:
    """Make Spark hide the options of `kafka_options` that hold secrets in this session's plans, UI and event log."""
    pattern = spark.conf.get(_REDACTION, "(?i)url") or "(?i)url"
    missing = [name for name in _SECRET_OPTIONS if name not in pattern]
    if missing:
        spark.conf.set(_REDACTION, "|".join([pattern, *missing]))


def _security(settings: Settings) -> dict[str, str]:
    """Return the security options of topic.client_config under the names of Kafka's Java client."""
    protocol = settings.kafka_security_protocol
    options: dict[str, str] = {"security.protocol": protocol}
    if protocol.startswith("SASL"):
        module = f"org.apache.kafka.common.security.{_LOGIN_MODULES[settings.kafka_sasl_mechanism]}"
        user, password = _quoted(settings.kafka_sasl_username), _quoted(settings.kafka_password)
        options["sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["sasl.jaas.config"] = f"{module} required username={user} password={password};"
    if protocol.endswith("SSL"):
        if settings.kafka_ssl_ca_location:
            options["ssl.truststore.type"] = "PEM"
            options["ssl.truststore.certificates"] = Path(settings.kafka_ssl_ca_location).read_text("utf-8")
        if settings.kafka_ssl_certificate_location:
            certificate, key = settings.kafka_ssl_certificate_location, settings.kafka_ssl_key_location
            options["ssl.keystore.type"] = "PEM"
            options["ssl.keystore.certificate.chain"] = Path(certificate).read_text("utf-8")
            options["ssl.keystore.key"] = Path(key).read_text("utf-8")
            options["ssl.key.password"] = settings.kafka_ssl_key_password
    return options


def _quoted(text: str) -> str:
    """Quote the text for a JAAS configuration."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
