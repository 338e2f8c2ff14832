"""The clients' configuration, the connection test with its TLS check, the admin client, and error translation."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from orderflow import tls
from orderflow.errors import KafkaRefused
from orderflow.settings import Settings
from orderflow.topic._error_codes import AMBIGUOUS_CODES, REFUSAL_CODES, STALE_CLIENT_CODES, classify, record_failure

TIMEOUT = 10.0  # seconds per request
_CONNECTION_TIMEOUT = 5.0  # seconds to wait for a broker's answer, if no broker refuses


def client_config(settings: Settings) -> dict[str, Any]:
    """The librdkafka configuration that producer, consumer and admin client share."""
    protocol = settings.kafka_security_protocol
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "error_cb": partial(record_failure, settings.kafka_bootstrap_servers),
        "client.id": "orderflow",
        "log_level": 0,  # failures are returned as error codes; librdkafka's log on stderr only repeats them
        "security.protocol": protocol,
    }
    if protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username
        config["sasl.password"] = settings.kafka_password
    if protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.kafka_ssl_ca_location,
            "ssl.certificate.location": settings.kafka_ssl_certificate_location,
            "ssl.key.location": settings.kafka_ssl_key_location,
            "ssl.key.password": settings.kafka_ssl_key_password,
        }
        config |= {name: value for name, value in files.items() if value}
    return config


def check_connection(settings: Settings) -> None:
    """Check that a broker answers.

    Raises KafkaRefused with the reason of a refusal.
    Raises KafkaUnavailable if all brokers refuse, or if none has answered after 5 seconds and one more attempt.

    An admin client is not used, because its requests only time out, whatever the reason.
    """
    errors: list[KafkaError] = []
    deadline = time.monotonic() + _CONNECTION_TIMEOUT
    try:
        client = Producer(client_config(settings) | {"error_cb": errors.append})
    except KafkaException as exception:
        raise classify(exception.args[0], settings) from exception
    while True:
        try:
            brokers = client.list_topics(timeout=1.0).brokers.values()
        except KafkaException as exception:
            client.poll(0)
            refusals = [error for error in errors if error.code() in REFUSAL_CODES]
            none_left = any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in errors)
            if refusals or none_left or time.monotonic() > deadline:
                for server in settings.kafka_bootstrap_servers.split(","):
                    address = urlsplit(f"//{server.strip()}")
                    _check_tls(settings, address.hostname or "", address.port or 9092, await_refusal=True)
                raise classify([*refusals, *errors, exception.args[0]][0], settings) from None
        else:
            if settings.kafka_security_protocol.endswith("SSL"):
                for broker in brokers:  # their certificates may lack the advertised host names
                    _check_tls(settings, broker.host, broker.port, await_refusal=False)
            return


def _check_tls(settings: Settings, host: str, port: int, *, await_refusal: bool) -> None:
    """Raises KafkaRefused if TLS prevents the connection to this broker."""
    broker = f"Kafka at {host}:{port}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    encrypted, certificate = settings.kafka_security_protocol.endswith("SSL"), settings.kafka_ssl_certificate_location
    if not encrypted:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif settings.kafka_ssl_ca_location:
        context.load_verify_locations(settings.kafka_ssl_ca_location)
    else:
        context.load_default_certs()
    if encrypted and certificate:
        context.load_cert_chain(certificate, settings.kafka_ssl_key_location, settings.kafka_ssl_key_password)
    try:
        tls.handshake(context, host, port, await_refusal=await_refusal and encrypted)
    except ssl.SSLCertVerificationError as error:
        reason, hint = tls.explain(
            error, host, "KAFKA_SSL_CA_LOCATION", "KAFKA_BOOTSTRAP_SERVERS, advertised.listeners"
        )
        raise KafkaRefused(f"{broker} is not trusted: {reason}.", hint=hint) from error
    except tls.ClientCertificateRefused as error:
        raise KafkaRefused(
            f"{broker} {'refuses the client certificate' if certificate else 'requires a client certificate'}.",
            hint="Set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION to a certificate that it trusts.",
        ) from error
    except OSError:  # the broker is down, or does not use TLS; the two are not distinguished
        return
    if not encrypted:
        raise KafkaRefused(
            f"{broker} uses TLS, but KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}.",
            hint="Set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL.",
        )


@lru_cache(maxsize=8)  # an audit may read several topics
def admin_client(settings: Settings) -> AdminClient:
    """The admin client. It is cached, because connecting is slow.

    Keep a reference during a request: a collected client cancels it.
    """
    check_connection(settings)
    return AdminClient(client_config(settings))


@contextmanager
def translate_errors(settings: Settings, client: AdminClient | None = None) -> Iterator[None]:
    """Translate the client's exceptions into OrderFlow's errors by their code."""
    try:
        yield
    except KafkaException as exception:
        if client is not None:
            client.poll(0)  # runs error_cb with the failures of the brokers
        if exception.args[0].code() in STALE_CLIENT_CODES:
            admin_client.cache_clear()  # the next request uses a new client
        error = classify(exception.args[0], settings)
        # Over TLS or SASL a timeout may be a refusal. Only a handshake can distinguish them.
        if settings.kafka_security_protocol != "PLAINTEXT" and exception.args[0].code() in AMBIGUOUS_CODES:
            check_connection(settings)
        raise error from exception
