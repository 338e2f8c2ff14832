"""Every setting in one place: environment variable, type, default, unit and help.

`env.example` and the settings table in the README are checked against this file by a test.
A value in the real environment wins over one in `.env`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import dotenv
import msgspec
from msgspec import Meta

from orderflow.errors import SettingInvalid

Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrOff = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_$]{1,64}\Z")]
TopicName = Annotated[str, Meta(pattern=r"\A(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")]
# The longest table OrderFlow derives from MYSQL_TABLE appends 14 characters; MySQL allows 64.
TableName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_$]{1,48}\Z")]
# They name files, which must be readable where the command starts; that of x_file becomes x.
_FILES = {
    *("kafka_password_file", "kafka_ssl_key_password_file", "mysql_password_file", "mysql_reader_password_file"),
    *("kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location"),
    *("mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key"),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may set, validated once, at start. Field `mysql_host` is variable `MYSQL_HOST`."""

    kafka_bootstrap_servers: Annotated[
        str, Meta(min_length=1, description="Kafka brokers, host:port, separated by commas.")
    ] = "localhost:9092"
    kafka_topic: Annotated[TopicName, Meta(description="Topic that carries the orders.")] = "orders"
    kafka_compression: Annotated[
        Literal["gzip", "lz4", "snappy", "zstd", "none"], Meta(description="Codec of the producer's batches.")
    ] = "gzip"
    kafka_connect_attempts: Annotated[
        int,
        Meta(ge=1, description="How often the producer tries to reach Kafka at start before it gives up."),
    ] = 5
    kafka_connect_wait: Annotated[float, Meta(ge=0, description="Seconds between these attempts.")] = 3.0
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(description="How the brokers are spoken to: PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT."),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"],
        Meta(description="How the user logs in under SASL_…: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN."),
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str, Meta(description="Kafka user under SASL_….")] = ""
    kafka_password: Annotated[str, Meta(description="Password of that user.")] = ""
    kafka_password_file: Annotated[str, Meta(description="File that holds that password instead.")] = ""
    kafka_ssl_ca_location: Annotated[
        str, Meta(description="PEM file of the authority that signed the brokers' certificates; unset, the system's.")
    ] = ""
    kafka_ssl_certificate_location: Annotated[
        str, Meta(description="PEM file of the client certificate, for brokers that ask for one.")
    ] = ""
    kafka_ssl_key_location: Annotated[str, Meta(description="PEM file of its key.")] = ""
    kafka_ssl_key_password: Annotated[str, Meta(description="Password of that key.")] = ""
    kafka_ssl_key_password_file: Annotated[str, Meta(description="File that holds that password instead.")] = ""
    kafka_headers: Annotated[
        Literal["drop", "keep"],
        Meta(description="keep: a quarantined record keeps its Kafka headers."),
    ] = "drop"
    production_interval: Annotated[float, Meta(ge=0, description="Seconds between two orders of the producer.")] = 2.0
    starting_order_id: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Number of the first order; unset, the producer goes on after the topic's highest.",
            ),
        ]
        | None
    ) = None
    order_ranges: Annotated[
        Literal["off", "enforce"],
        Meta(description="enforce: the generator's own ranges and catalogue become part of the contract."),
    ] = "off"
    quarantine_max_share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of rejected records past which the sink stops, 0 to 1, judged from 1,000 records on;"
            " 1: never.",
        ),
    ] = 0.9
    mysql_host: Annotated[str, Meta(min_length=1, description="MySQL or MariaDB server, reached by TCP.")] = "localhost"
    mysql_port: Annotated[Port, Meta(description="Port of that server, 1 to 65535.")] = 3306
    mysql_database: Annotated[Name, Meta(description="Database that holds the tables.")] = "ecommerce"
    mysql_table: Annotated[
        TableName,
        Meta(description="Table of the orders; the ledger, quarantine and rollup take its name as prefix."),
    ] = "orders"
    mysql_user: Annotated[str, Meta(min_length=1, description="Database user.")] = "root"
    mysql_password: Annotated[str, Meta(description="Password of that user.")] = ""
    mysql_password_file: Annotated[str, Meta(description="File that holds that password instead.")] = ""
    mysql_reader_user: Annotated[
        str, Meta(description="User that dashboard, status, track, top and audit read with; unset, MYSQL_USER.")
    ] = ""
    mysql_reader_password: Annotated[str, Meta(description="Password of that user.")] = ""
    mysql_reader_password_file: Annotated[str, Meta(description="File that holds that password instead.")] = ""
    mysql_ssl_mode: (
        Annotated[
            Literal["PREFERRED", "VERIFY_CA", "VERIFY_IDENTITY"],
            Meta(
                description="PREFERRED: encrypted if the server can; VERIFY_CA: its certificate is checked;"
                " VERIFY_IDENTITY: its host name too. Unset, VERIFY_IDENTITY with MYSQL_SSL_CA, PREFERRED without."
            ),
        ]
        | None
    ) = None
    mysql_ssl_ca: Annotated[
        str, Meta(description="PEM file of the authority that signed the server's certificate.")
    ] = ""
    mysql_ssl_cert: Annotated[str, Meta(description="PEM file of the client certificate, for users that need one.")] = (
        ""
    )
    mysql_ssl_key: Annotated[str, Meta(description="PEM file of its key.")] = ""
    dashboard_host: Annotated[
        str, Meta(min_length=1, description="Address the dashboard listens on; any but loopback needs DASHBOARD_TOKEN.")
    ] = "127.0.0.1"
    dashboard_port: Annotated[Port, Meta(description="Port of the dashboard.")] = 8765
    dashboard_token: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        Meta(
            description="What viewers of the dashboard must give once, 16 characters or more; unset, nobody is asked."
        ),
    ] = None
    metrics_host: Annotated[
        str,
        Meta(min_length=1, description="Address that metrics and health are served on; whoever reaches it reads them."),
    ] = "127.0.0.1"
    sink_metrics_port: Annotated[
        PortOrOff, Meta(description="Port of the sink's /metrics, /live and /ready; 0: none.")
    ] = 0
    producer_metrics_port: Annotated[PortOrOff, Meta(description="The same of the producer.")] = 0
    log_format: Annotated[
        Literal["text", "json"], Meta(description="json: a JSON object per log line, for log collectors.")
    ] = "text"
    orderflow_home: Annotated[
        str, Meta(min_length=1, description="Folder of everything `orderflow up` keeps: data, logs, state.")
    ] = ".orderflow"

    @property
    def home(self) -> Path:
        """ORDERFLOW_HOME as an absolute path."""
        return Path(self.orderflow_home).expanduser().resolve()

    @property
    def database_address(self) -> str:
        """host:port, for messages."""
        return f"{self.mysql_host}:{self.mysql_port}"

    @property
    def dashboard_address(self) -> str:
        """The dashboard's URL, for messages."""
        host = f"[{self.dashboard_host}]" if ":" in self.dashboard_host else self.dashboard_host
        return f"http://{host}:{self.dashboard_port}/"

    @property
    def for_reading(self) -> Settings:
        """These settings with MYSQL_READER_USER in the place of MYSQL_USER, if it is set."""
        if not self.mysql_reader_user:
            return self
        return msgspec.structs.replace(
            self, mysql_user=self.mysql_reader_user, mysql_password=self.mysql_reader_password
        )

    def environment(self) -> dict[str, str]:
        """The variables that give another process these settings, secrets included that no file holds."""
        given = {field.name: getattr(self, field.name) for field in msgspec.structs.fields(self)}
        return {
            name.upper(): "" if value is None or given.get(f"{name}_file") else str(value)
            for name, value in given.items()
        }

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value in self.shown().items())})"

    def shown(self) -> dict[str, str]:
        """Variable name to value, with secrets replaced by asterisks."""
        return {
            field.name.upper(): "***" if is_secret(field.name) and value else str(value)
            for field in msgspec.structs.fields(self)
            for value in [getattr(self, field.name)]
        }


def is_secret(name: str) -> bool:
    """Whether the setting's value may never be shown."""
    return name.lower().endswith(("password", "token"))


def load(environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> Settings:
    """Settings from the environment and `.env` in the working directory.

    An empty variable counts as unset, but for MYSQL_PASSWORD, where both mean no password. What a …_FILE names is read.
    Raises SettingInvalid, which names the variable, its value and what would be right.
    """
    values = read_environment(environ, dotenv_path)
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        text = values.get(field.name.upper(), "").strip()
        if not text:
            continue
        try:
            given[field.name] = msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            shown = "***" if is_secret(field.name) else repr(text)
            raise SettingInvalid(
                f"{field.name.upper()} is {shown}: {_plain(error)}.",
                hint=f"Set {field.name.upper()} in the environment or in .env. {help_of(field.name)}",
            ) from None
    for name in _FILES.intersection(given):
        content = _read(name, given[name])
        if (secret := name.removesuffix("_file")) != name:
            if secret in given:
                raise SettingInvalid(
                    f"{secret.upper()} and {name.upper()} are both set.", hint=f"Unset {secret.upper()}."
                )
            given[secret] = content.rstrip("\r\n")
    _check_together(current := Settings(**given))
    return current


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingInvalid(
            f"{name.upper()} is {path!r}, which cannot be read: {reason}.",
            hint=f"Set {name.upper()} in the environment or in .env. {help_of(name)}",
        ) from None


def _check_together(current: Settings) -> None:
    """Raises SettingInvalid where one setting calls for another that is not set."""
    sasl = current.kafka_security_protocol.startswith("SASL")
    verifies = current.mysql_ssl_mode in ("VERIFY_CA", "VERIFY_IDENTITY")
    for needs, wanted, because in (
        (sasl, "kafka_sasl_username", f"KAFKA_SECURITY_PROTOCOL is {current.kafka_security_protocol}"),
        (sasl, "kafka_password", f"KAFKA_SECURITY_PROTOCOL is {current.kafka_security_protocol}"),
        (current.kafka_ssl_certificate_location, "kafka_ssl_key_location", "KAFKA_SSL_CERTIFICATE_LOCATION is set"),
        (current.kafka_ssl_key_location, "kafka_ssl_certificate_location", "KAFKA_SSL_KEY_LOCATION is set"),
        (verifies, "mysql_ssl_ca", f"MYSQL_SSL_MODE is {current.mysql_ssl_mode}"),
        (current.mysql_ssl_cert, "mysql_ssl_key", "MYSQL_SSL_CERT is set"),
        (current.mysql_ssl_key, "mysql_ssl_cert", "MYSQL_SSL_KEY is set"),
    ):
        if needs and not getattr(current, wanted):
            raise SettingInvalid(
                f"{because}, but {wanted.upper()} is not.",
                hint=f"Set {wanted.upper()} in the environment or in .env. {help_of(wanted)}",
            )


def is_given(name: str, environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> bool:
    """Whether the user set this variable, in the environment or in `.env`."""
    return bool(read_environment(environ, dotenv_path).get(name.upper(), "").strip())


def read_environment(environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> dict[str, str]:
    """The environment on top of `.env` (of the working directory unless a path is given)."""
    from_file = dotenv.dotenv_values(dotenv_path or Path.cwd() / ".env", interpolate=False)
    return {k: v for k, v in from_file.items() if v is not None} | dict(os.environ if environ is None else environ)


def help_of(name: str) -> str:
    """The setting's description."""
    return next(text for setting, _, text in table() if setting == name.upper())


def table() -> Iterable[tuple[str, str, str]]:
    """(variable, default as text, description) of every setting, in order."""
    hints = msgspec.inspect.type_info(Settings)
    assert isinstance(hints, msgspec.inspect.StructType)
    for field in hints.fields:
        default = "" if field.default in (None, msgspec.NODEFAULT) else str(field.default)
        yield field.name.upper(), default, _description(field.type)


def _description(node: msgspec.inspect.Type) -> str:
    if isinstance(node, msgspec.inspect.UnionType):
        return next(text for member in node.types if (text := _description(member)))
    if isinstance(node, msgspec.inspect.Metadata):
        return str((node.extra_json_schema or {}).get("description", ""))
    return ""


def _plain(error: msgspec.ValidationError) -> str:
    text = str(error)
    return text[0].lower() + text[1:]
