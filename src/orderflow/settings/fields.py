"""The settings: environment variable, type, default, unit and help of each.

A test compares `env.example` and the table in docs/settings.md with this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from orderflow.settings.trigger import interval_seconds

Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrOff = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_$]{1,64}\Z")]
TopicName = Annotated[str, Meta(pattern=r"\A(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")]
# The longest table name that OrderFlow derives from MYSQL_TABLE appends 18 characters; MySQL allows 64.
TableName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_$]{1,46}\Z")]
# What these patterns allow, for messages.
ALLOWED = {
    "kafka_topic": "it must have 1 to 249 characters of A-Z, a-z, 0-9, '.', '_' and '-', and be neither '.' nor '..'",
    "mysql_database": "it must have 1 to 64 characters of A-Z, a-z, 0-9, '_' and '$'",
    "mysql_table": "it must have 1 to 46 characters of A-Z, a-z, 0-9, '_' and '$'",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All user settings, validated once, at start. Field `mysql_host` is variable `MYSQL_HOST`."""

    kafka_bootstrap_servers: Annotated[
        str, Meta(min_length=1, description="Kafka brokers, host:port or [IPv6]:port, separated by commas.")
    ] = "localhost:9092"
    kafka_topic: Annotated[TopicName, Meta(description="Topic that carries the orders.")] = "orders"
    kafka_compression: Annotated[
        Literal["gzip", "lz4", "snappy", "zstd", "none"],
        Meta(description="Codec of the producer's batches: gzip, lz4, snappy, zstd or none."),
    ] = "gzip"
    kafka_connect_attempts: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Attempts of the producer to reach Kafka at start."),
    ] = 5
    kafka_connect_wait: Annotated[
        float,
        Meta(ge=0, le=86_400, description="Seconds between two connection attempts of the producer, 86,400 at most."),
    ] = 3.0
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(description="Kafka security protocol: PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT."),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"],
        Meta(description="SASL mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN."),
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str, Meta(description="Kafka user, required with SASL_SSL and SASL_PLAINTEXT.")] = ""
    kafka_password: Annotated[str, Meta(description="Password of KAFKA_SASL_USERNAME.")] = ""
    kafka_password_file: Annotated[
        str, Meta(description="File that holds the password, instead of KAFKA_PASSWORD.")
    ] = ""
    kafka_ssl_ca_location: Annotated[
        str, Meta(description="PEM file of the CA that signed the brokers' certificates; unset: the system's CAs.")
    ] = ""
    kafka_ssl_certificate_location: Annotated[
        str, Meta(description="PEM file of the client certificate, for brokers that require one.")
    ] = ""
    kafka_ssl_key_location: Annotated[str, Meta(description="PEM file of the client certificate's key.")] = ""
    kafka_ssl_key_password: Annotated[
        str, Meta(description="Password of the client certificate's key, if it is encrypted.")
    ] = ""
    kafka_ssl_key_password_file: Annotated[
        str, Meta(description="File that holds the password, instead of KAFKA_SSL_KEY_PASSWORD.")
    ] = ""
    kafka_headers: Annotated[
        Literal["drop", "keep"],
        Meta(description="keep: the quarantine also stores the Kafka headers of a record."),
    ] = "drop"
    production_interval: Annotated[
        float, Meta(ge=0, le=86_400, description="Seconds between two orders of the producer, 86,400 at most.")
    ] = 2.0
    starting_order_id: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Number of the first order; unset: the producer continues after the topic's highest.",
            ),
        ]
        | None
    ) = None
    order_ranges: Annotated[
        Literal["off", "enforce"],
        Meta(description="enforce: the contract also requires the generator's ranges and catalogue."),
    ] = "off"
    order_contract: Annotated[
        str,
        Meta(
            description="TOML file that describes the orders' fields; unset: the standard fields. See docs/contract.md."
        ),
    ] = ""
    order_contract_text: str = ""  # the content of that file; not a variable of its own
    quarantine_max_share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of quarantined records, 0 to 1, above which the sink stops; checked from 1,000 records"
            " on. 1: never.",
        ),
    ] = 0.9
    sink_trigger: Annotated[
        str,
        Meta(
            description="When Spark stores records: micro-batch (as soon as the last micro-batch has ended), an"
            ' interval such as "2 seconds", realtime (record by record, needs Spark 4.1), or auto (realtime, and'
            " micro-batches while many records wait).",
        ),
    ] = "micro-batch"
    max_offsets_per_trigger: Annotated[
        int,
        Meta(
            ge=1, le=1_000_000_000, description="Maximum number of records in a Spark micro-batch, over all partitions."
        ),
    ] = 300_000
    mysql_host: Annotated[str, Meta(min_length=1, description="MySQL or MariaDB server, reached by TCP.")] = "localhost"
    mysql_port: Annotated[Port, Meta(description="Port of the MySQL or MariaDB server, 1 to 65535.")] = 3306
    mysql_database: Annotated[Name, Meta(description="Database that holds the tables.")] = "ecommerce"
    mysql_table: Annotated[
        TableName,
        Meta(description="Table of the orders; the ledger, quarantine and rollup take its name as prefix."),
    ] = "orders"
    mysql_user: Annotated[str, Meta(min_length=1, description="Database user.")] = "root"
    mysql_password: Annotated[str, Meta(description="Password of MYSQL_USER.")] = ""
    mysql_password_file: Annotated[
        str, Meta(description="File that holds the password, instead of MYSQL_PASSWORD.")
    ] = ""
    mysql_reader_user: Annotated[
        str, Meta(description="User that dashboard, status, track, top and audit read with; unset: MYSQL_USER.")
    ] = ""
    mysql_reader_password: Annotated[str, Meta(description="Password of MYSQL_READER_USER.")] = ""
    mysql_reader_password_file: Annotated[
        str, Meta(description="File that holds the password, instead of MYSQL_READER_PASSWORD.")
    ] = ""
    mysql_ssl_mode: (
        Annotated[
            Literal["PREFERRED", "VERIFY_CA", "VERIFY_IDENTITY"],
            Meta(
                description="PREFERRED: encrypted if the server supports TLS; VERIFY_CA: also verify its certificate;"
                " VERIFY_IDENTITY: also verify its host name. Unset: VERIFY_IDENTITY with MYSQL_SSL_CA, else PREFERRED."
            ),
        ]
        | None
    ) = None
    mysql_ssl_ca: Annotated[str, Meta(description="PEM file of the CA that signed the server's certificate.")] = ""
    mysql_ssl_cert: Annotated[
        str, Meta(description="PEM file of the client certificate, for users that require one.")
    ] = ""
    mysql_ssl_key: Annotated[str, Meta(description="PEM file of the client certificate's key.")] = ""
    dashboard_host: Annotated[
        str,
        Meta(
            min_length=1,
            description="Address that the dashboard listens on; all except loopback require DASHBOARD_TOKEN.",
        ),
    ] = "127.0.0.1"
    dashboard_port: Annotated[Port, Meta(description="Port of the dashboard.")] = 8765
    dashboard_token: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        Meta(
            description="Token that viewers of the dashboard enter once, 16 characters or more; unset: none is needed."
        ),
    ] = None
    dashboard_token_file: Annotated[str, Meta(description="File that holds the token, instead of DASHBOARD_TOKEN.")] = (
        ""
    )
    metrics_host: Annotated[
        str,
        Meta(min_length=1, description="Address of the metrics and health endpoints, which require no login."),
    ] = "127.0.0.1"
    sink_metrics_port: Annotated[
        PortOrOff, Meta(description="Port of the sink's /metrics, /live and /ready; 0: none.")
    ] = 0
    producer_metrics_port: Annotated[
        PortOrOff, Meta(description="Port of the producer's /metrics, /live and /ready; 0: none.")
    ] = 0
    log_format: Annotated[
        Literal["text", "json"], Meta(description="json: a JSON object per log line, for log collectors.")
    ] = "text"
    orderflow_home: Annotated[
        str, Meta(min_length=1, description="Folder for the data, logs and state of `orderflow up`.")
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
    def trigger_interval(self) -> float:
        """Seconds between two micro-batches; 0 unless SINK_TRIGGER is an interval."""
        return interval_seconds(self.sink_trigger)

    @property
    def dashboard_address(self) -> str:
        """The dashboard's URL, for messages."""
        host = f"[{self.dashboard_host}]" if ":" in self.dashboard_host else self.dashboard_host
        return f"http://{host}:{self.dashboard_port}/"

    @property
    def for_reading(self) -> Settings:
        """These settings with MYSQL_READER_USER in place of MYSQL_USER, if it is set."""
        if not self.mysql_reader_user:
            return self
        return msgspec.structs.replace(
            self, mysql_user=self.mysql_reader_user, mysql_password=self.mysql_reader_password
        )

    def environment(self) -> dict[str, str]:
        """The variables that pass these settings to another process, including secrets that no file holds."""
        given = {name: getattr(self, name) for name in names()}
        return {
            name.upper(): "" if value is None or given.get(f"{name}_file") else str(value)
            for name, value in given.items()
        }

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value in self.shown().items())})"

    def shown(self) -> dict[str, str]:
        """Variable names and values, with secrets replaced by asterisks."""
        return {
            name.upper(): "***" if is_secret(name) and value else str(value)
            for name in names()
            for value in [getattr(self, name)]
        }


def names() -> tuple[str, ...]:
    """Return the names of all settings, in order."""
    return tuple(name for name in Settings.__struct_fields__ if name != "order_contract_text")


def is_secret(name: str) -> bool:
    """Whether the setting's value must never be shown."""
    return name.lower().endswith(("password", "token"))


def help_of(name: str) -> str:
    """Return the setting's description."""
    return next(text for setting, _, text in table() if setting == name.upper())


def table() -> Iterable[tuple[str, str, str]]:
    """Yield (variable, default as text, description) for every setting, in order."""
    hints = msgspec.inspect.type_info(Settings)
    assert isinstance(hints, msgspec.inspect.StructType)
    for field in hints.fields:
        if field.name not in names():
            continue
        default = "" if field.default in (None, msgspec.NODEFAULT) else str(field.default)
        yield field.name.upper(), default, _description(field.type)


def _description(node: msgspec.inspect.Type) -> str:
    if isinstance(node, msgspec.inspect.UnionType):
        return next(text for member in node.types if (text := _description(member)))
    if isinstance(node, msgspec.inspect.Metadata):
        return str((node.extra_json_schema or {}).get("description", ""))
    return ""
