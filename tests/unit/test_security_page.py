"""The settings and commands of docs/security.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from orderflow import settings

ROOT = Path(__file__).parents[2]


PAGE = (ROOT / "docs/security.md").read_text("utf-8")


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
