"""Checks settings that depend on each other, on certificates, or on a folder."""

from __future__ import annotations

import os
import stat

from orderflow.errors import SettingInvalid
from orderflow.settings.fields import Settings, help_of
from orderflow.settings.pem_files import file_problems

# Certificate authority, client certificate, its key, and the key's password.
_TLS_SETTINGS = (
    ("kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location", "kafka_ssl_key_password"),
    ("mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key", ""),
)


def check(settings: Settings) -> None:
    """Raise SettingInvalid if a setting cannot be used with the others or on this machine."""
    _check_together(settings)
    _check_tls(settings)
    _check_home(settings)


def _check_together(settings: Settings) -> None:
    """Raise SettingInvalid if one setting requires another that is not set."""
    uses_sasl = settings.kafka_security_protocol.startswith("SASL")
    verifies = settings.mysql_ssl_mode in ("VERIFY_CA", "VERIFY_IDENTITY")
    for is_required, name, because in (
        (uses_sasl, "kafka_sasl_username", f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}"),
        (uses_sasl, "kafka_password", f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}"),
        (settings.kafka_ssl_certificate_location, "kafka_ssl_key_location", "KAFKA_SSL_CERTIFICATE_LOCATION is set"),
        (settings.kafka_ssl_key_location, "kafka_ssl_certificate_location", "KAFKA_SSL_KEY_LOCATION is set"),
        (verifies, "mysql_ssl_ca", f"MYSQL_SSL_MODE is {settings.mysql_ssl_mode}"),
        (settings.mysql_ssl_cert, "mysql_ssl_key", "MYSQL_SSL_CERT is set"),
        (settings.mysql_ssl_key, "mysql_ssl_cert", "MYSQL_SSL_KEY is set"),
    ):
        if is_required and not getattr(settings, name):
            raise SettingInvalid(f"{because}, but {name.upper()} is not.", hint=hint_of(name))


def _check_tls(settings: Settings) -> None:
    """Raise SettingInvalid if a PEM file does not hold what its setting requires."""
    for authority, certificate, key, password in _TLS_SETTINGS:
        names = {"authority": authority, "certificate": certificate, "key": key}
        paths = [getattr(settings, name) for name in names.values()]
        for problem in file_problems(*paths, password=getattr(settings, password) if password else ""):
            name = names[problem.file]
            raise invalid_setting(name, repr(getattr(settings, name)), problem.reason)


def _check_home(settings: Settings) -> None:
    """Raise SettingInvalid if ORDERFLOW_HOME is not a folder that this user may read. It need not exist yet."""
    try:
        home = settings.home
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
    raise invalid_setting("orderflow_home", repr(settings.orderflow_home), reason)


def invalid_setting(name: str, shown: str, reason: str) -> SettingInvalid:
    """The error for a setting whose value, shown like this, is invalid for this reason."""
    return SettingInvalid(f"{name.upper()} is {shown}: {reason}.", hint=hint_of(name))


def hint_of(name: str) -> str:
    """The hint for an error of this setting."""
    return f"Set {name.upper()} in the environment or in .env. {help_of(name)}"
