"""Secrets from files, files that cannot be read, and settings that require each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow import settings
from orderflow.errors import SettingInvalid
from orderflow.settings import Settings


def load(tmp_path: Path, **environ: str) -> Settings:
    return settings.load(environ, tmp_path / "none.env")


@pytest.mark.parametrize(
    "name", ["KAFKA_PASSWORD", "KAFKA_SSL_KEY_PASSWORD", "MYSQL_PASSWORD", "MYSQL_READER_PASSWORD"]
)
def test_a_secret_is_read_from_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(" hunter2 é\n", "utf-8")
    loaded = load(tmp_path, **{f"{name}_FILE": str(file)})
    assert getattr(loaded, name.lower()) == " hunter2 é"
    environment = loaded.environment()
    assert (environment[name], environment[f"{name}_FILE"]) == ("", str(file)), "children read the file"
    assert settings.load(environment, tmp_path / "none.env") == loaded
    assert "hunter2" not in repr(loaded) + str(loaded.shown()) + str(environment)
    with pytest.raises(SettingInvalid, match=f"{name} and {name}_FILE are both set"):
        load(tmp_path, **{name: "hunter2", f"{name}_FILE": str(file)})


@pytest.mark.parametrize("name", ["MYSQL_PASSWORD_FILE", "KAFKA_SSL_CA_LOCATION", "MYSQL_SSL_KEY"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingInvalid, match=f"{name} is '/nowhere', which cannot be read: No such file"):
        load(tmp_path, **{name: "/nowhere"})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_USERNAME"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "me"}, "KAFKA_PASSWORD"),
        ({"KAFKA_SSL_CERTIFICATE_LOCATION": __file__}, "KAFKA_SSL_KEY_LOCATION"),
        ({"MYSQL_SSL_MODE": "VERIFY_CA"}, "MYSQL_SSL_CA"),
        ({"MYSQL_SSL_KEY": __file__}, "MYSQL_SSL_CERT"),
    ],
)
def test_a_setting_that_another_one_needs_is_named(tmp_path: Path, given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingInvalid, match=f"but {missing} is not") as refused:
        load(tmp_path, **given)
    assert missing in refused.value.hint
