"""Every setting in one place: environment variable, type, default, unit and help.

A test compares `env.example` and the table in docs/settings.md with this file.
A value in the real environment overrides one in `.env`. Whatever a later step parses (addresses, numbers, certificates)
is checked here, so that a command fails at its start with the setting's name.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from dotenv.parser import parse_stream
from msgspec import Meta

from orderflow import addresses, tls
from orderflow.errors import SettingInvalid

_LINE_BREAK_AT_END = re.compile(r"\r?\n\Z")
_FILE_LIMIT = 1024 * 1024  # bytes of .env, of a password, or of a certificate
Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrOff = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_$]{1,64}\Z")]
TopicName = Annotated[str, Meta(pattern=r"\A(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")]
# The longest table name that OrderFlow derives from MYSQL_TABLE appends 18 characters; MySQL allows 64.
TableName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_$]{1,46}\Z")]
_INTERVAL = re.compile(r"([1-9][0-9]{0,5}) (millisecond|second|minute|hour)s?")
_SECONDS = {"millisecond": 0.001, "second": 1.0, "minute": 60.0, "hour": 3600.0}
# These name files, which the command must be able to read. The content of x_file becomes x.
_FILE_SETTINGS = {
    *("kafka_password_file", "kafka_ssl_key_password_file", "mysql_password_file", "mysql_reader_password_file"),
    *("kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location"),
    *("mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key"),
    *("dashboard_token_file", "order_contract"),
}


def parse_trigger(text: str) -> str:
    """Return the trigger. Raises ValueError with the reason if it is invalid."""
    if text not in ("micro-batch", "realtime", "auto") and not _INTERVAL.fullmatch(text):
        raise ValueError('it is neither micro-batch, realtime nor auto, nor an interval such as "2 seconds"')
    return text


# Each converts text to the value in use, or raises ValueError with the reason.
_PARSERS: dict[str, Callable[[str], str]] = {
    "kafka_bootstrap_servers": addresses.parse_brokers,
    "mysql_host": addresses.parse_host,
    "dashboard_host": addresses.parse_host,
    "metrics_host": addresses.parse_host,
    "sink_trigger": parse_trigger,
}
# Certificate authority, client certificate, its key, and the key's password.
_TLS_SETTINGS = (
    ("kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location", "kafka_ssl_key_password"),
    ("mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key", ""),
)


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
            description="Share of rejected records, 0 to 1, above which the sink stops; checked from 1,000 records on."
            " 1: never.",
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
        found = _INTERVAL.fullmatch(self.sink_trigger)
        return int(found[1]) * _SECONDS[found[2]] if found else 0.0

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


def load(environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> Settings:
    """Read the settings from the environment and from `.env` in the working directory.

    An empty variable counts as unset. Spaces around a value are dropped, except around a secret. The file that a …_FILE
    names is read; its text, without one line break at its end, is the secret.
    Raises SettingInvalid, which names the variable or the file, its value, and what is expected.
    """
    values = read_environment(environ, dotenv_path)
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name in names() and (text := _text_of(field.name, values)):
            given[field.name] = _parse(field.name, field.type, text)
    for name in sorted(_FILE_SETTINGS.intersection(given)):
        content = _read_setting_file(name, given[name])
        given[name] = str(Path(given[name]).absolute())  # another process may have another working directory
        if name == "order_contract":
            given["order_contract_text"] = content
        if (secret := name.removesuffix("_file")) != name:
            if secret in given:
                raise SettingInvalid(
                    f"{secret.upper()} and {name.upper()} are both set.", hint=f"Unset {secret.upper()}."
                )
            if content.startswith("\ufeff"):
                raise _invalid(name, repr(given[name]), "the file begins with a byte order mark")
            type_ = next(field.type for field in msgspec.structs.fields(Settings) if field.name == secret)
            given[secret] = _parse(secret, type_, _LINE_BREAK_AT_END.sub("", content))
    _check_together(current := Settings(**given))
    _check_tls(current)
    _check_home(current)
    return current


def _text_of(name: str, values: Mapping[str, str]) -> str:
    """Return the setting's text; empty if it is unset."""
    text = values.get(name.upper(), "")
    return text if is_secret(name) else text.strip()


def _parse(name: str, type_: Any, text: str) -> object:
    try:
        text.encode()
        value = msgspec.convert(text, type_, strict=False)
        return _PARSERS[name](value) if name in _PARSERS else value
    except UnicodeEncodeError:
        reason = "it is not UTF-8"
    except msgspec.ValidationError as error:
        reason = _reason(error)
    except ValueError as error:
        reason = str(error)
    raise _invalid(name, "***" if is_secret(name) else repr(text), reason)


def _invalid(name: str, shown: str, reason: str) -> SettingInvalid:
    return SettingInvalid(f"{name.upper()} is {shown}: {reason}.", hint=_hint(name))


def _hint(name: str) -> str:
    return f"Set {name.upper()} in the environment or in .env. {help_of(name)}"


def _read_setting_file(name: str, path: str) -> str:
    """Return the text of the file that a setting names.

    Raises SettingInvalid.
    """
    try:
        return _read_text(Path(path))
    except _UnreadableError as error:
        raise SettingInvalid(f"{name.upper()} is {path!r}, which cannot be read: {error}.", hint=_hint(name)) from None


class _UnreadableError(Exception):
    """The reason why a file cannot be read as text."""


def _read_text(path: Path) -> str:
    """Return the file's text unchanged, including line breaks.

    Raises _UnreadableError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
        text = data.decode()
    except OSError as error:
        raise _UnreadableError(error.strerror) from None
    except UnicodeDecodeError:
        raise _UnreadableError("it is not UTF-8") from None
    if len(data) > _FILE_LIMIT:
        raise _UnreadableError("it is larger than 1 MiB")
    if "\0" in text:
        raise _UnreadableError("it is not UTF-8 text, but holds NUL characters")
    return text


def _check_together(current: Settings) -> None:
    """Raise SettingInvalid if one setting requires another that is not set."""
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
            raise SettingInvalid(f"{because}, but {wanted.upper()} is not.", hint=_hint(wanted))


def _check_tls(current: Settings) -> None:
    """Raise SettingInvalid if a PEM file does not hold what its setting requires."""
    for authority, certificate, key, password in _TLS_SETTINGS:
        files = {"authority": authority, "certificate": certificate, "key": key}
        paths = [getattr(current, name) for name in files.values()]
        for problem in tls.file_problems(*paths, password=getattr(current, password) if password else ""):
            name = files[problem.what]
            raise _invalid(name, repr(getattr(current, name)), problem.reason)


def _check_home(current: Settings) -> None:
    """Raise SettingInvalid if ORDERFLOW_HOME is not a folder that this user may read. It need not exist yet."""
    try:
        home = current.home
        if not stat.S_ISDIR(home.stat().st_mode):
            reason = "it is not a folder"
        elif not os.access(home, os.R_OK | os.X_OK):
            reason = "this user may not read it"
        else:
            return
    except FileNotFoundError:
        return
    except RuntimeError:  # a symbolic link to itself, or ~ without a home
        reason = "it is a symbolic link to itself, or ~ of a user without a home folder"
    except OSError as error:
        reason = str(error.strerror)
    raise _invalid("orderflow_home", repr(current.orderflow_home), reason)


def is_given(name: str, environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> bool:
    """Whether the user set this variable, in the environment or in `.env`."""
    return bool(_text_of(name, read_environment(environ, dotenv_path)))


def read_environment(environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> dict[str, str]:
    """Return the environment merged over `.env` (of the working directory unless a path is given).

    Raises SettingInvalid if `.env` exists and cannot be read, or the working directory no longer exists.
    """
    return _read_dotenv(dotenv_path or working_directory() / ".env") | dict(os.environ if environ is None else environ)


def misspelled(dotenv_path: Path | None = None) -> dict[str, str]:
    """Return the names in `.env` that are no settings, each with the setting that it resembles.

    Raises SettingInvalid as `read_environment`.
    """
    known = [name.upper() for name in names()]
    given = _read_dotenv(dotenv_path or working_directory() / ".env").keys() - {*known}
    closest = {name: get_close_matches(name, known, n=1, cutoff=0.85) for name in sorted(given)}
    return {name: found[0] for name, found in closest.items() if found}


def working_directory() -> Path:
    """Return the working directory.

    Raises SettingInvalid if it no longer exists.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise SettingInvalid(
            f"The working directory, where .env and ORDERFLOW_HOME are looked for, cannot be used: {error.strerror}.",
            hint="It may have been deleted. Change to another folder with cd.",
        ) from None


def _read_dotenv(path: Path) -> dict[str, str]:
    """Return the file's variables; none if the file does not exist."""
    try:
        # Every process reads the file, some more than once: only a regular file has the same content each time.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _UnreadableError("it is not a regular file")
        bindings = list(parse_stream(io.StringIO(_read_text(path).replace("\r\n", "\n"))))
    except FileNotFoundError:
        return {}
    except (OSError, _UnreadableError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingInvalid(
            f"{path} cannot be read: {reason}.",
            hint="It holds the settings of this folder. Make it a readable text file in UTF-8, or remove it.",
        ) from None
    for binding in bindings:
        if binding.error:
            raise SettingInvalid(
                f"Line {binding.original.line} of {path} is neither NAME=value nor a comment.",
                hint="Put a value with special characters into single quotes; begin a comment with #.",
            )
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}


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


def _reason(error: msgspec.ValidationError) -> str:
    text = str(error)
    return text[0].lower() + text[1:]
