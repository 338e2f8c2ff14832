"""A broker and a database with TLS, authentication (SASL) and only explicitly granted rights."""

from __future__ import annotations

import re
import shlex
import uuid
from argparse import ArgumentParser
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec
import mysql.connector
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from orderflow.embedded.database import Database, DatabaseKind
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.settings import Settings
from tests.support.certificates import OTHER_HOST, Authority, Certificate

# Every secret contains this mark. The other characters may be escaped in an output.
MARK = f"never-shown-{uuid.uuid4().hex}"
# Passwords may contain non-ASCII characters, and characters that are special in JAAS, SQL, JSON and a shell.
PASSWORDS = {
    f"orderflow_{role}": f"""a"b\\c d'e$é {role} {MARK}""" for role in ("producer", "sink", "reader", "nobody")
}
KEY_PASSWORD = f"key {MARK}"
# Listener to protocol. SSL and BOTH require a client certificate. The last two present an invalid server certificate.
LISTENERS = {
    "SSL": "SSL",
    "BOTH": "SASL_SSL",
    "SASL_SSL": "SASL_SSL",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "EXPIRED": "SASL_SSL",
    "ELSEWHERE": "SASL_SSL",
}
_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


class Authorities(NamedTuple):
    """An authority that the servers and clients trust, and one that they do not trust."""

    trusted: Authority
    stranger: Authority


class SecuredKafka(Kafka):
    """A broker that permits only what is granted, except on its plain listener, which administrators use."""

    def __init__(self, folder: Path, authority: Authority, users: dict[str, str]) -> None:
        super().__init__(folder, free_port())
        self._authority, self._users = authority, users
        self._ports = {name: free_port() for name in LISTENERS}
        valid = authority.issue("broker")
        self._certificates = {"": valid, "EXPIRED": authority.issue("expired", days=-1)}
        self._certificates["ELSEWHERE"] = authority.issue("elsewhere", OTHER_HOST)

    def bootstrap_servers(self, listener: str) -> str:
        """Return the bootstrap servers of this listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    @cached_property
    def admin(self) -> AdminClient:
        """Return a client with all rights."""
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def create_acls(self, acls: list[AclBinding]) -> None:
        """Grant these rights."""
        for future in self.admin.create_acls(acls).values():
            future.result()

    def delete_acl(self, acl: AclBinding) -> None:
        """Revoke this right, which must exist."""
        matching = AclBindingFilter(
            *(acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host),
            *(acl.operation, acl.permission_type),
        )
        for future in self.admin.delete_acls([matching]).values():
            assert len(future.result()) == 1

    def wait_ready(self, timeout: float = 120) -> None:
        super().wait_ready(timeout)
        for user, password in self._users.items():
            for mechanism in (ScramMechanism.SCRAM_SHA_512, ScramMechanism.SCRAM_SHA_256):
                credential = ScramCredentialInfo(mechanism, 4096)
                upsertion = UserScramCredentialUpsertion(user, credential, password.encode())
                self.admin.alter_user_scram_credentials([upsertion])[user].result()

    def _script(self) -> str:
        script = super()._script()
        path = self.folder / "server.properties"
        listeners = "".join(f",{name}://127.0.0.1:{port}" for name, port in self._ports.items())
        lines = [
            line + (listeners if line.startswith(("listeners=", "advertised.listeners=")) else "")
            for line in path.read_text().splitlines()
        ]
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"} | LISTENERS
        plain_users = " ".join(f'user_{user}="{_escaped(password)}"' for user, password in self._users.items())
        plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {plain_users};"
        lines += [
            "listener.security.protocol.map=" + ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "inter.broker.listener.name=PLAINTEXT",
            "ssl.keystore.type=PEM",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self._authority.certificate}",
            *(f"listener.name.{name}.ssl.client.auth=required" for name in ("ssl", "both")),
            f"sasl.enabled.mechanisms={','.join(_MECHANISMS)}",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
        ]
        for name, certificate in self._certificates.items():
            lines.append(f"{f'listener.name.{name.lower()}.' if name else ''}ssl.keystore.location={certificate.both}")
        for name, protocol in LISTENERS.items():
            if protocol.startswith("SASL"):
                lines.append(f"listener.name.{name.lower()}.plain.sasl.jaas.config={plain}")
                for mechanism in _MECHANISMS[:2]:
                    lines.append(
                        f"listener.name.{name.lower()}.{mechanism.lower()}.sasl.jaas.config="
                        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                    )
        path.write_text("\n".join(lines) + "\n")
        return script


def _escaped(password: str) -> str:
    """Escape for a JAAS string in a properties file, which Java reads as Latin-1."""
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    return quoted.replace("\\", "\\\\").encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00")


class SecuredDatabase(Database):
    """A database with TLS whose certificate can change while it runs. It trusts client certificates of `authority`."""

    def __init__(self, folder: Path, kind: DatabaseKind, authority: Authority) -> None:
        super().__init__(folder, free_port(), kind)
        self._authority = authority
        self._certificate = authority.issue(f"{kind}-server")

    def use_certificate(self, certificate: Certificate) -> None:
        """Use this certificate from now on."""
        for current, new in zip(self._certificate, certificate, strict=True):
            current.write_bytes(new.read_bytes())
        reload = "ALTER INSTANCE RELOAD TLS" if self.program.kind == "mysql" else "FLUSH SSL"
        root = {"host": "127.0.0.1", "port": self.port, "user": self.user, "password": self.password}
        with mysql.connector.connect(**root) as connection:
            connection.cursor().execute(reload)

    def _script(self) -> str:
        files = {"ca": self._authority.certificate, "cert": self._certificate.certificate, "key": self._certificate.key}
        options = " ".join(f"--ssl-{name}={path}" for name, path in files.items())
        return f"{super()._script().replace('--skip-ssl', '').rstrip()} {options}\n"


def kafka_settings(
    broker: SecuredKafka, authority: Authority, listener: str = "SASL_SSL", role: str = "sink"
) -> Settings:
    """Return a role's settings of this listener."""
    return Settings(
        kafka_bootstrap_servers=broker.bootstrap_servers(listener),
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username=f"orderflow_{role}",
        kafka_password=PASSWORDS[f"orderflow_{role}"],
        kafka_ssl_ca_location=str(authority.certificate),
    )


def database_settings(database: SecuredDatabase, authority: Authority) -> Settings:
    """Return an administrator's settings."""
    return Settings(
        mysql_host="127.0.0.1",
        mysql_port=database.port,
        mysql_user=database.user,
        mysql_password=database.password,
        mysql_ssl_ca=str(authority.certificate),
        mysql_database="mysql",
    )


def joined(kafka: Settings, database: Settings) -> Settings:
    """Return the settings of both servers."""
    changes = {name: value for name, value in msgspec.structs.asdict(database).items() if name.startswith("mysql")}
    return msgspec.structs.replace(kafka, **changes)


def with_client_certificate(settings: Settings, certificate: Certificate) -> Settings:
    """Return the settings with a client certificate for Kafka."""
    return msgspec.structs.replace(
        settings,
        kafka_ssl_certificate_location=str(certificate.certificate),
        kafka_ssl_key_location=str(certificate.key),
        kafka_ssl_key_password=KEY_PASSWORD,
    )


def parse_acls(command: str) -> list[AclBinding]:
    """Parse a kafka-acls command."""
    parser = ArgumentParser()
    parser.add_argument("--operation", action="append")
    for option in ("--bootstrap-server", "--command-config", "--allow-principal", "--topic", "--group"):
        parser.add_argument(option)
    parser.add_argument("--add", action="store_true")
    program, *arguments = shlex.split(command)
    options = parser.parse_args(arguments)
    assert program == "kafka-acls.sh" and options.add
    kind, name = (ResourceType.TOPIC, options.topic) if options.topic else (ResourceType.GROUP, options.group)
    return [
        AclBinding(
            *(kind, name, ResourcePatternType.LITERAL, options.allow_principal, "*"),
            *(AclOperation[_in_snake_case(operation)], AclPermissionType.ALLOW),
        )
        for operation in options.operation
    ]


def _in_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def execute_with_tls(settings: Settings, *texts: str) -> None:
    """Run these statements outside of any database, over TLS if the server has it."""
    with mysql.connector.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        user=settings.mysql_user,
        password=settings.mysql_password,
        autocommit=True,
    ) as connection:
        for text in texts:
            connection.cursor().execute(text)
