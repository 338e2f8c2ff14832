"""Decides by the error codes of the Kafka client: the class of the error, and whether a batch is damaged."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError

from orderflow.errors import BatchDamaged, KafkaRefused, KafkaUnavailable, OrderFlowError, TopicMissing
from orderflow.settings import Settings

# A damaged batch has a wrong checksum, compressed bytes or version; or the broker itself cannot read it.
_DAMAGE_CODES = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNDERFLOW,
    KafkaError.INVALID_MSG,
}
# The reader's position is not in the partition: its records were removed, or its end was lost.
POSITION_LOST_CODES = {KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION}
_LOGIN_REFUSAL_CODES = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
_GRANT_HINT = "Check KAFKA_BOOTSTRAP_SERVERS, and grant the user the permissions that `orderflow init --grants` prints."
_REFUSAL_HINTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _GRANT_HINT,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _GRANT_HINT,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _GRANT_HINT,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _GRANT_HINT,
    KafkaError.TOPIC_EXCEPTION: "Set KAFKA_TOPIC to another name.",
    KafkaError.POLICY_VIOLATION: "Ask the administrator of the brokers for their policy.",
    KafkaError.INVALID_PARTITIONS: "Choose another number of partitions. It cannot be reduced.",
    KafkaError.INVALID_REPLICATION_FACTOR: "Start as many brokers as the topic has replicas.",
}
REFUSAL_CODES = _LOGIN_REFUSAL_CODES | {KafkaError._SSL, KafkaError._INVALID_ARG} | _REFUSAL_HINTS.keys()
# Codes whose actual reason is known only after a connection test.
AMBIGUOUS_CODES = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._SSL}
# An admin client may not recover from these soon. If the controller that it has in its metadata was killed, librdkafka
# 2.16 waits for it for minutes, in a busy loop. If a broker was restored from a copy, the client has a newer leader
# epoch, which the broker refuses.
STALE_CLIENT_CODES = {
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
}
_FAILURE_MAX_AGE = 60.0  # seconds for which a broker's failure is used to explain a timeout


def classify(error: KafkaError, settings: Settings) -> OrderFlowError:
    """Return the OrderFlow error for a client's error code."""
    server, reason = f"Kafka at {settings.kafka_bootstrap_servers}", error.str().rstrip(".")
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return TopicMissing(
            f"Topic {settings.kafka_topic} does not exist on {settings.kafka_bootstrap_servers}.",
            hint="`orderflow init` creates it. Otherwise set KAFKA_TOPIC to another topic.",
        )
    if error.code() in _LOGIN_REFUSAL_CODES:
        return KafkaRefused(
            f"{server} refuses user {settings.kafka_sasl_username} with {settings.kafka_sasl_mechanism}: {reason}.",
            hint="Check KAFKA_SASL_USERNAME, KAFKA_PASSWORD (or KAFKA_PASSWORD_FILE) and KAFKA_SASL_MECHANISM.",
        )
    if error.code() == KafkaError._INVALID_ARG:
        return KafkaRefused(
            f"The Kafka client for {settings.kafka_bootstrap_servers} cannot be created: {reason}.",
            hint="Check the KAFKA_SSL_… setting with that name, and KAFKA_SSL_KEY_PASSWORD.",
        )
    if error.code() == KafkaError._SSL:
        return KafkaRefused(
            f"{server} does not accept the TLS connection: {reason}.",
            hint="Check KAFKA_SECURITY_PROTOCOL and the KAFKA_SSL_… settings.",
        )
    if error.code() in _REFUSAL_HINTS:
        return KafkaRefused(f"{server} refuses the request: {reason}.", hint=_REFUSAL_HINTS[error.code()])
    if error.code() in AMBIGUOUS_CODES and (failure := _advertised_failure(settings)):
        return KafkaUnavailable(
            f"{server} does not answer: {reason}; {failure.rstrip('.')}.",
            hint="If that broker runs, its advertised.listeners must name a host and port that this machine can reach.",
        )
    protocol = settings.kafka_security_protocol
    hint = f"If the broker runs, check that its listener uses {protocol} (KAFKA_SECURITY_PROTOCOL)."
    return KafkaUnavailable(f"{server} does not answer: {reason}.", hint="" if protocol == "PLAINTEXT" else hint)


def is_damage(error: KafkaError) -> bool:
    """Whether a consumer's error means that a batch of the partition is damaged.

    Messages of this partition that the consumer returns later must not be used: librdkafka continues at a wrong byte.
    """
    return error.code() in _DAMAGE_CODES


def damaged_batch_error(settings: Settings, partition: int, offset: int, reason: str) -> BatchDamaged:
    """Return the error that names a damaged batch. `offset` is the first offset that cannot be read."""
    return BatchDamaged(
        f"{settings.kafka_topic} partition {partition} cannot be read at offset {offset}: {reason.rstrip('.')}.",
        hint="The batch is damaged on the broker. Restore it from a replica. Otherwise `orderflow accept-loss` shows"
        " its offsets and, with --yes, records them as lost.",
    )


_failures: dict[tuple[str, str], tuple[float, str]] = {}  # by bootstrap servers and broker: time and reason


def record_failure(servers: str, error: KafkaError) -> None:
    """Record broker and reason of a failure. librdkafka reports them only here: requests just time out."""
    broker, _, reason = error.str().partition(": ")
    if error.code() in (KafkaError._RESOLVE, KafkaError._TRANSPORT) and "/" in broker:
        _failures[servers, broker.rpartition("://")[2]] = time.monotonic(), reason


def _advertised_failure(settings: Settings) -> str | None:
    """The reason why a broker's advertised address, which KAFKA_BOOTSTRAP_SERVERS does not name, is unreachable."""
    servers = settings.kafka_bootstrap_servers
    for (known, broker), (noted_at, reason) in tuple(_failures.items()):  # other threads add to it
        address, _, node = broker.rpartition("/")
        if known == servers and node.isdigit() and time.monotonic() - noted_at < _FAILURE_MAX_AGE:
            if address in {server.strip() for server in servers.split(",")}:
                continue
            return f"broker {node} cannot be reached at its advertised.listeners address {address}: {reason}"
    return None
