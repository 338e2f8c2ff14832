"""Loads the settings, so that a command with a wrong one fails at its start, with the setting's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orderflow.errors import SettingInvalid
from orderflow.settings import addresses
from orderflow.settings.checks import check, hint_of, invalid_setting
from orderflow.settings.environment import read_environment, text_of
from orderflow.settings.fields import ALLOWED, Settings, is_secret, names
from orderflow.settings.text_files import FileUnreadable, read_text
from orderflow.settings.trigger import parse_trigger

_LINE_BREAK_AT_END = re.compile(r"\r?\n\Z")
# These name files, which the command must be able to read. The content of x_file becomes x.
_FILE_SETTINGS = {
    *("kafka_password_file", "kafka_ssl_key_password_file", "mysql_password_file", "mysql_reader_password_file"),
    *("kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location"),
    *("mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key"),
    *("dashboard_token_file", "order_contract"),
}
_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}
# Each converts text to the value in use, or raises ValueError with the reason.
_PARSERS: dict[str, Callable[[str], str]] = {
    "kafka_bootstrap_servers": addresses.parse_brokers,
    "mysql_host": addresses.parse_host,
    "dashboard_host": addresses.parse_host,
    "metrics_host": addresses.parse_host,
    "sink_trigger": parse_trigger,
}


def load(environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> Settings:
    """Read the settings from the environment and from `.env` in the working directory.

    An empty variable counts as unset, so the value in `.env` is used. Spaces around a value are dropped, except around
    a secret. The file that a …_FILE names is read; its text, without one line break at its end, is the secret.
    Raises SettingInvalid, which names the variable or the file, its value, and what is expected.
    """
    given = _parse_variables(read_environment(environ, dotenv_path))
    for name in sorted(_FILE_SETTINGS.intersection(given)):
        content = _read_setting_file(name, given[name])
        given[name] = str(Path(given[name]).absolute())  # another process may have another working directory
        if name == "order_contract":
            given["order_contract_text"] = content
        elif name.endswith("_file"):
            secret_name = name.removesuffix("_file")
            if secret_name in given:
                raise SettingInvalid(
                    f"{secret_name.upper()} and {name.upper()} are both set.", hint=f"Unset {secret_name.upper()}."
                )
            if content.startswith("\ufeff"):
                raise invalid_setting(name, repr(given[name]), "the file begins with a byte order mark")
            given[secret_name] = _parse(secret_name, _LINE_BREAK_AT_END.sub("", content))
    settings = Settings(**given)
    check(settings)
    return settings


def _parse_variables(values: Mapping[str, str]) -> dict[str, Any]:
    texts = {name: text_of(name, values) for name in names()}
    return {name: _parse(name, text) for name, text in texts.items() if text}


def _parse(name: str, text: str) -> Any:
    """Return the setting's value of this text.

    Raises SettingInvalid.
    """
    try:
        text.encode()
        value = msgspec.convert(text, _TYPES[name], strict=False)
        return _PARSERS[name](value) if name in _PARSERS else value
    except UnicodeEncodeError:
        reason = "it is not UTF-8"
    except msgspec.ValidationError as error:
        reason = ALLOWED.get(name) or _reason(error)
    except ValueError as error:
        reason = str(error)
    raise invalid_setting(name, "***" if is_secret(name) else repr(text), reason)


def _reason(error: msgspec.ValidationError) -> str:
    text = str(error)
    return text[0].lower() + text[1:]


def _read_setting_file(name: str, path: str) -> str:
    """Return the text of the file that a setting names.

    Raises SettingInvalid.
    """
    try:
        return read_text(Path(path))
    except FileUnreadable as error:
        raise SettingInvalid(
            f"{name.upper()} is {path!r}, which cannot be read: {error}.", hint=hint_of(name)
        ) from None
