"""Secrets in settings, packages locked by hash, and the commands of docs/security.md."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orderflow import settings
from orderflow.errors import SettingInvalid
from orderflow.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")


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


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_every_dependency_is_locked_with_its_hash(lock: Path) -> None:
    requirements = [text for text in re.split(r"(?<!\\)\n", lock.read_text()) if text and not text.startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[\w.-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_setup_installs_only_by_hash() -> None:
    """Only the package itself is installed from the clone, without its dependencies."""
    installs = re.findall(r"^\t\$\(PIP\) (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert installs
    assert [line for line in installs if "--require-hashes" not in line] == ["--no-deps --editable ."]


def test_a_package_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"thing==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", str(tmp_path)]
    install = [*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(lock)]
    assert subprocess.run(install, capture_output=True, check=False).returncode == 0
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    refused = subprocess.run(install, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_the_page_names_settings_that_exist() -> None:
    known = {name for name, _, _ in settings.table()}
    named = set(re.findall(r"\b(?:KAFKA|MYSQL)_[A-Z_]+[A-Z]\b", PAGE))
    assert named <= known
    security = {name for name in known if re.match(r"(KAFKA|MYSQL)_(S(ECURITY|ASL|SL)|\w*PASSWORD_FILE)", name)}
    assert security - named <= {"KAFKA_SSL_KEY_PASSWORD"}, "each of the rest is explained"


@pytest.mark.parametrize("command", re.findall(r"^openssl .*$", PAGE, re.MULTILINE))
def test_the_pages_openssl_commands_create_keys_that_spark_reads(tmp_path: Path, command: str) -> None:
    create_old_key = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "old.key"]
    subprocess.run(create_old_key, cwd=tmp_path, check=True)
    password_options = ["-passout", "pass:secret"] if "-nocrypt" not in command else []
    subprocess.run([*command.split(), *password_options], cwd=tmp_path, check=True)
    assert re.match(r"-----BEGIN (ENCRYPTED )?PRIVATE KEY-----", (tmp_path / "client.key").read_text())
