"""TLS and authentication of both servers: what they accept, and the cause and the fix of each refusal."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderflow import topic
from orderflow.errors import DatabaseRefused, DatabaseUnavailable, KafkaRefused, KafkaUnavailable
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from tests.support.certificates import OTHER_HOST, Certificate
from tests.support.processes import run
from tests.support.secured import (
    KEY_PASSWORD,
    MARK,
    Authorities,
    SecuredDatabase,
    SecuredKafka,
    database_settings,
    execute_with_tls,
    joined,
    kafka_settings,
    with_client_certificate,
)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_kafka_accepts_passwords(broker: SecuredKafka, authorities: Authorities, protocol: str, mechanism: str) -> None:
    settings = replace(
        kafka_settings(broker, authorities.trusted, protocol),
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism=mechanism,
    )
    assert len(topic.describe(settings).partitions) == 3


def test_kafka_accepts_client_certificates(broker: SecuredKafka, authorities: Authorities, client: Certificate) -> None:
    settings = replace(kafka_settings(broker, authorities.trusted, "SSL"), kafka_security_protocol="SSL")
    assert len(topic.describe(with_client_certificate(settings, client)).partitions) == 3


def _kafka_faults(
    broker: SecuredKafka, authorities: Authorities, client: Certificate
) -> dict[str, tuple[Settings, str, str]]:
    """Return, by name, settings, the error message, and the setting or words that its hint names."""
    good = kafka_settings(broker, authorities.trusted)
    by_certificate = replace(
        good, kafka_bootstrap_servers=broker.bootstrap_servers("SSL"), kafka_security_protocol="SSL"
    )
    wrong = f"wrong {MARK}"
    foreign_client = with_client_certificate(
        by_certificate, authorities.stranger.issue("foreigner", passphrase=KEY_PASSWORD)
    )
    return {
        "wrong password": (replace(good, kafka_password=wrong), "refuses user orderflow_sink", "KAFKA_PASSWORD"),
        "unknown user": (replace(good, kafka_sasl_username="who"), "refuses user who", "KAFKA_SASL_USERNAME"),
        "wrong authority": (
            kafka_settings(broker, authorities.stranger),
            "signed by an authority that is not trusted",
            "KAFKA_SSL_CA_LOCATION",
        ),
        "no authority": (replace(good, kafka_ssl_ca_location=""), "not trusted", "KAFKA_SSL_CA_LOCATION"),
        "expired": (kafka_settings(broker, authorities.trusted, "EXPIRED"), "certificate has expired", "renewed"),
        "other host": (
            kafka_settings(broker, authorities.trusted, "ELSEWHERE"),
            "is not valid for host name 127.0.0.1",
            "KAFKA_BOOTSTRAP_SERVERS",
        ),
        "no client certificate": (
            by_certificate,
            "requires a client certificate",
            "KAFKA_SSL_CERTIFICATE_LOCATION",
        ),
        "foreign client certificate": (
            foreign_client,
            "refuses the client certificate",
            "KAFKA_SSL_CERTIFICATE_LOCATION",
        ),
        "wrong key password": (
            replace(with_client_certificate(by_certificate, client), kafka_ssl_key_password=wrong),
            "ssl.key.location failed",
            "KAFKA_SSL_KEY_PASSWORD",
        ),
        "no TLS": (replace(good, kafka_security_protocol="SASL_PLAINTEXT"), "uses TLS", "KAFKA_SECURITY_PROTOCOL"),
        "plain text": (replace(good, kafka_security_protocol="PLAINTEXT"), "uses TLS", "KAFKA_SECURITY_PROTOCOL"),
        "no right": (replace(good, kafka_topic="secret"), "refuses", "--grants"),
    }


def test_kafka_refusals_name_their_cause(
    broker: SecuredKafka, authorities: Authorities, client: Certificate, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, (settings, message, hint) in _kafka_faults(broker, authorities, client).items():
        with pytest.raises(KafkaRefused) as refused:
            topic.describe(settings)
        assert message in refused.value.message, name
        assert hint in refused.value.hint, name
        assert MARK not in str(refused.value) + refused.value.hint + repr(settings)
    assert MARK not in "".join(capfd.readouterr())


@pytest.mark.parametrize("reset", [False, True])
def test_a_handshake_that_a_broker_ends_is_no_refusal(authorities: Authorities, reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listening.accept()[0] as client:
                        client.recv(4096)
                        if reset:
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        threading.Thread(target=serve, daemon=True).start()
        settings = Settings(
            kafka_bootstrap_servers=f"127.0.0.1:{listening.getsockname()[1]}",
            kafka_security_protocol="SSL",
            kafka_ssl_ca_location=str(authorities.trusted.certificate),
        )
        with pytest.raises(KafkaUnavailable):
            topic.describe(settings)
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["mysql_tls", "mariadb_tls"])
def database(request: pytest.FixtureRequest, authorities: Authorities) -> Iterator[SecuredDatabase]:
    server: SecuredDatabase = request.getfixturevalue(request.param)
    yield server
    server.use_certificate(authorities.trusted.issue("good-again"))


def _cipher(settings: Settings) -> str:
    with Connection(settings) as connection, connection._raw.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        [(_, cipher)] = cursor.fetchall()
        return str(cipher)


def test_connections_to_the_database_use_tls(database: SecuredDatabase, authorities: Authorities) -> None:
    good = database_settings(database, authorities.trusted)
    assert _cipher(good)
    assert _cipher(replace(good, mysql_host="localhost")), "the certificate is checked against the configured name"
    assert _cipher(replace(good, mysql_ssl_ca="")), "TLS is used by default if the server supports it"
    for hosts, mode in ((OTHER_HOST, "VERIFY_CA"), ("DNS:localhost", None)):
        database.use_certificate(authorities.trusted.issue("other", hosts))
        assert _cipher(replace(good, mysql_ssl_mode=mode, mysql_host="localhost"))


def test_the_database_accepts_client_certificates(
    database: SecuredDatabase, authorities: Authorities, client: Certificate
) -> None:
    good = database_settings(database, authorities.trusted)
    execute_with_tls(good, "CREATE USER IF NOT EXISTS certified@'%' IDENTIFIED BY 'pw' REQUIRE X509")
    certified = replace(good, mysql_user="certified", mysql_password="pw", mysql_database="information_schema")
    with pytest.raises(DatabaseRefused, match="refuses user certified"):
        Connection(certified)
    plain = authorities.trusted.issue("plain-client")
    with_certificate = replace(certified, mysql_ssl_cert=str(plain.certificate), mysql_ssl_key=str(plain.key))
    assert _cipher(with_certificate)
    foreign = authorities.stranger.issue("foreign-client")
    with pytest.raises(DatabaseUnavailable) as disconnected:  # the server gives no reason
        Connection(replace(certified, mysql_ssl_cert=str(foreign.certificate), mysql_ssl_key=str(foreign.key)))
    assert "MYSQL_SSL_CERT" in disconnected.value.hint


def test_database_refusals_name_their_cause(
    database: SecuredDatabase, authorities: Authorities, capfd: pytest.CaptureFixture[str]
) -> None:
    good = database_settings(database, authorities.trusted)
    faults = {
        "wrong password": (replace(good, mysql_password=MARK), "refuses user root", "MYSQL_PASSWORD"),
        "wrong reader's password": (
            replace(good, mysql_reader_user="root", mysql_reader_password=MARK).for_reading,
            "refuses user root",
            "MYSQL_READER_PASSWORD",
        ),
        "wrong authority": (
            database_settings(database, authorities.stranger),
            "signed by an authority that is not trusted",
            "MYSQL_SSL_CA",
        ),
        "no authority": (replace(good, mysql_ssl_ca=__file__), "does not accept the TLS connection", "MYSQL_SSL_CA"),
    }
    for name, fault in faults.items():
        _assert_refused(name, *fault)
    database.use_certificate(authorities.trusted.issue("elsewhere", OTHER_HOST))
    _assert_refused("other host", good, "is not valid for host name 127.0.0.1", "MYSQL_HOST")
    if database.program.kind == "mariadb":  # MySQL does not load an expired certificate, but may keep running with one
        database.use_certificate(authorities.trusted.issue("expired-server", days=-1))
        _assert_refused("expired", good, "certificate has expired", "renewed")
    assert MARK not in "".join(capfd.readouterr())


def _assert_refused(name: str, settings: Settings, message: str, hint: str) -> None:
    with pytest.raises(DatabaseRefused) as refused:
        Connection(settings)
    assert message in refused.value.message, name
    assert hint in refused.value.hint, name
    assert MARK not in str(refused.value) + refused.value.hint


def test_a_server_without_tls_is_refused_if_tls_is_required(mariadb_server: Settings, authorities: Authorities) -> None:
    settings = replace(mariadb_server, mysql_ssl_ca=str(authorities.trusted.certificate), mysql_database="mysql")
    _assert_refused("no TLS", settings, "does not accept the TLS connection", "MYSQL_SSL_MODE")


def test_the_doctor_and_the_commands_report_tls_errors(
    broker: SecuredKafka, mariadb_tls: SecuredDatabase, authorities: Authorities, folder: Path
) -> None:
    wrong = joined(
        kafka_settings(broker, authorities.trusted, "EXPIRED"), database_settings(mariadb_tls, authorities.stranger)
    )
    result = run(wrong, "doctor", "--json", cwd=folder)
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 1
    assert "certificate has expired" in checks["Kafka"]["found"]
    assert "MYSQL_SSL_CA" in checks["database"]["hint"]
    for arguments, message in (
        (("sink", "--engine", "direct"), "signed by an authority that is not trusted"),
        (("produce", "--count", "1"), "certificate has expired"),
    ):
        result = run(wrong, *arguments, cwd=folder)
        assert result.returncode == 2, result.stderr
        assert message in result.stderr
