"""Settings: where they come from, what is refused, and that env.example tells the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow import settings
from orderflow.errors import SettingInvalid
from orderflow.settings import Settings

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, environ: dict[str, str], dotenv: str = "") -> Settings:
    file = tmp_path / ".env"
    file.write_text(dotenv)
    return settings.load(environ, file)


def test_env_example_shows_every_setting_with_default_and_help() -> None:
    blocks = (ROOT / "env.example").read_text().strip().split("\n\n")[1:]
    assert blocks == [f"# {text}\n#{name}={default}" for name, default, text in settings.table()]


def test_env_example_uncommented_gives_the_defaults(tmp_path: Path) -> None:
    lines = (ROOT / "env.example").read_text().splitlines()
    dotenv = "\n".join(line.removeprefix("#") for line in lines if line.startswith("#") and not line.startswith("# "))
    assert load(tmp_path, {}, dotenv) == Settings()


def test_the_environment_wins_over_dotenv(tmp_path: Path) -> None:
    found = load(tmp_path, {"KAFKA_TOPIC": "real"}, "KAFKA_TOPIC=file\nMYSQL_PORT=3307")
    assert (found.kafka_topic, found.mysql_port) == ("real", 3307)


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    assert load(tmp_path, {"PRODUCTION_INTERVAL": " ", "STARTING_ORDER_ID": "", "MYSQL_PASSWORD": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MYSQL_PORT", "70000"),
        ("MYSQL_PORT", "mysql"),
        ("STARTING_ORDER_ID", "0"),
        ("STARTING_ORDER_ID", "1.5"),
        ("PRODUCTION_INTERVAL", "-1"),
        ("KAFKA_TOPIC", "two topics"),
        ("KAFKA_TOPIC", ".."),
        ("KAFKA_COMPRESSION", "rar"),
        ("MYSQL_TABLE", "orders; DROP TABLE orders"),
        ("MYSQL_DATABASE", "a`b"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        load(tmp_path, {name: value})
    assert name in caught.value.message and value in caught.value.message
    assert name in caught.value.hint


def test_a_password_is_never_shown() -> None:
    found = Settings(mysql_password="hunter2")
    assert "hunter2" not in repr(found) + str(found) + str(found.shown())
    assert found.shown()["MYSQL_PASSWORD"] == "***"
