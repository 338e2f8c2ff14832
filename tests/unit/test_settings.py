"""Settings: their sources, refused values, and the correctness of env.example."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest

from orderflow import settings
from orderflow.errors import SettingInvalid
from orderflow.settings import Settings, fields, loading
from tests.support.certificates import Authority

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
    loaded = load(tmp_path, {"KAFKA_TOPIC": "real"}, "KAFKA_TOPIC=file\nMYSQL_PORT=3307")
    assert (loaded.kafka_topic, loaded.mysql_port) == ("real", 3307)


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    empty = {"PRODUCTION_INTERVAL": " ", "STARTING_ORDER_ID": "", "MYSQL_PASSWORD": ""}
    assert load(tmp_path, empty) == Settings()
    loaded = load(tmp_path, empty, "PRODUCTION_INTERVAL=7\nMYSQL_PASSWORD=secret\n")
    assert (loaded.production_interval, loaded.mysql_password) == (7, "secret")
    assert settings.is_given("mysql_password", empty, tmp_path / ".env")


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
        ("KAFKA_TOPIC", "a" * 250),
        ("KAFKA_COMPRESSION", "rar"),
        ("MYSQL_TABLE", "orders; DROP TABLE orders"),
        ("MYSQL_TABLE", "a" * 47),
        ("MYSQL_DATABASE", "a`b"),
    ],
)
def test_an_invalid_setting_is_named_with_its_value(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        load(tmp_path, {name: value})
    assert name in caught.value.message and value in caught.value.message
    assert "regex" not in caught.value.message
    assert name in caught.value.hint


@pytest.mark.parametrize(
    ("trigger", "seconds"),
    [
        ("micro-batch", 0),
        ("auto", 0),
        ("500 milliseconds", 0.5),
        ("1 second", 1),
        ("10 minutes", 600),
        ("2 hours", 7200),
    ],
)
def test_a_trigger_has_its_interval(tmp_path: Path, trigger: str, seconds: float) -> None:
    assert load(tmp_path, {"SINK_TRIGGER": trigger}).trigger_interval == seconds


def test_a_password_is_never_shown() -> None:
    loaded = Settings(mysql_password="hunter2")
    assert "hunter2" not in repr(loaded) + str(loaded) + str(loaded.shown())
    assert loaded.shown()["MYSQL_PASSWORD"] == "***"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("localhost:9092", "localhost:9092"),
        (" a:1 , b-1.example.:2,", "a:1,b-1.example.:2"),
        ("[::1]:9092,10.0.0.1:9093,kafka_1:9094", "[::1]:9092,10.0.0.1:9093,kafka_1:9094"),
        ("[fe80::1%eth0]:9092", "[fe80::1%eth0]:9092"),
    ],
)
def test_brokers_are_host_and_port(tmp_path: Path, given: str, used: str) -> None:
    assert load(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": given}).kafka_bootstrap_servers == used


@pytest.mark.parametrize(
    "brokers",
    [
        *("localhost:99092", "localhost:0", "localhost:kafka", "localhost:-1", "localhost:", ":9092", "localhost"),
        *(
            "::1:9092",
            "[::1]",
            "[localhost]:9092",
            "[::1:9092",
            "[1.2.3.4]:1",
            "a:1;b:2",
            "a:1 b:2",
            "a:1,b",
            ",",
            "[]:1",
        ),
        *("PLAINTEXT://a:1", "http://a:1/", "a..b:1", f"{'a' * 64}:1", "-a:1", "1.2.3:1", "1.2.3.256:1", "bücher:1"),
        *("a:٣", f"a:{'9' * 5000}", "user@a:1", "a:1/x", "a:1\nb:2"),
    ],
)
def test_invalid_brokers_are_refused(tmp_path: Path, brokers: str) -> None:
    with pytest.raises(SettingInvalid, match=r"^KAFKA_BOOTSTRAP_SERVERS is '") as caught:
        load(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": brokers})
    assert "host:port" in caught.value.hint


@pytest.mark.parametrize("name", ["MYSQL_HOST", "METRICS_HOST", "DASHBOARD_HOST"])
@pytest.mark.parametrize(
    "host",
    [
        "db:3306",
        "mysql://db",
        "[::1]",
        "::1:3306:x",
        "a..b",
        ".",
        "/tmp/mysql.sock",
        "1.2.3.4.5",
        "b\u00fccher",
        "a b",
        "*",
    ],
)
def test_a_host_has_neither_port_nor_protocol(tmp_path: Path, name: str, host: str) -> None:
    for good in ("::1", "0.0.0.0", "db-1.example.com", "db_1", "localhost"):
        assert getattr(load(tmp_path, {name: good}), name.lower()) == good
    with pytest.raises(SettingInvalid, match=f"^{name} is ") as caught:
        load(tmp_path, {name: host})
    assert name in caught.value.hint


NUMBERS = [name for name, default, _ in settings.table() if re.fullmatch(r"[0-9.]+", default) and name[-4:] != "HOST"]


@pytest.mark.parametrize("name", [*NUMBERS, "STARTING_ORDER_ID"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "9" * 30, "9" * 5000, "1_0", "-1"])
def test_numbers_out_of_range_are_refused(tmp_path: Path, name: str, value: str) -> None:
    """Every number that is not refused is valid for clocks, sockets and Kafka's client."""
    if (name, value) == ("STARTING_ORDER_ID", "9" * 30):
        return  # order numbers may have 44 digits
    with pytest.raises(SettingInvalid, match=f"^{name} is '"):
        load(tmp_path, {name: value})


@pytest.mark.parametrize(
    "content", [b"\xff\xfeM\0Y\0", b"MYSQL_PASSWORD=p\xe4ss\n", b"M\0Y\0S\0Q\0L\0_\0", b"A=1\nMYSQL HOST\n"]
)
def test_a_dotenv_that_is_no_utf8_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingInvalid, match=re.escape(str(tmp_path / ".env"))) as caught:
        settings.load({}, tmp_path / ".env")
    assert "line 2" in caught.value.message.lower() if content.startswith(b"A=1") else "UTF-8" in caught.value.message


def test_a_dotenv_that_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_bytes(b"#" * 2**21)
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "loop", tmp_path / "large", tmp_path / "large" / "below"):
        with pytest.raises(SettingInvalid, match=re.escape(str(path))):
            settings.load({}, path)
    assert settings.load({}, tmp_path / "missing") == Settings()


def test_a_dotenv_of_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfMYSQL_HOST=db\r\nMYSQL_PASSWORD=' p '\r\n")
    loaded = settings.load({}, tmp_path / ".env")
    assert (loaded.mysql_host, loaded.mysql_password) == ("db", " p ")


SECRETS = [name for name, *_ in settings.table() if settings.is_secret(name)]
SECRET = " l\u00e9ad\t#'\"$ trail \u00a0 "


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_used_exactly_as_it_is(tmp_path: Path, name: str) -> None:
    """This holds for a variable, for .env and for a file."""
    quoted = SECRET.replace("'", "\\'")
    loaded = [load(tmp_path, {name: SECRET}), load(tmp_path, {}, f"{name}='{quoted}'\n")]
    if f"{name}_FILE" in [row[0] for row in settings.table()]:
        for end in ("", "\n", "\r\n"):
            (tmp_path / "secret").write_bytes((SECRET + end).encode())
            loaded.append(load(tmp_path, {f"{name}_FILE": str(tmp_path / "secret")}))
    assert [getattr(current, name.lower()) for current in loaded] == [SECRET] * len(loaded)
    for current in loaded:  # the same in another process
        assert getattr(load(tmp_path, current.environment()), name.lower()) == SECRET


@pytest.mark.parametrize(
    ("content", "password"), [("a\n\n", "a\n"), ("a\r", "a\r"), ("\n", ""), ("a\r\nb\r\n", "a\r\nb")]
)
def test_one_line_break_at_the_end_of_a_secret_file_is_dropped(tmp_path: Path, content: str, password: str) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    assert load(tmp_path, {"MYSQL_PASSWORD_FILE": str(tmp_path / "secret")}).mysql_password == password


@pytest.mark.parametrize("content", [b"p\xe4ss", b"\xff\xfep\0", b"\xef\xbb\xbfpass", b"a\0b", b"x" * 2**21])
def test_a_password_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SettingInvalid, match=r"^MYSQL_PASSWORD_FILE is "):
        load(tmp_path, {"MYSQL_PASSWORD_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize("name", ["MYSQL_PASSWORD", "MYSQL_USER", "KAFKA_SASL_USERNAME", "DASHBOARD_TOKEN"])
def test_a_variable_that_is_not_utf8_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingInvalid, match=f"{name} is .*: it is not UTF-8.") as caught:
        load(tmp_path, {name: os.fsdecode(b"p\xe4ss" * 5)})
    assert ("ss" in caught.value.message) != settings.is_secret(name)


def test_certificates_and_keys_are_read_at_load(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    certificate, other_certificate = authority.issue("ours", passphrase="secret"), other.issue("theirs")
    (garbage := tmp_path / "garbage").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    valid = {
        "KAFKA_SSL_CA_LOCATION": str(authority.certificate),
        "KAFKA_SSL_CERTIFICATE_LOCATION": str(certificate.certificate),
        "KAFKA_SSL_KEY_LOCATION": str(certificate.key),
        "KAFKA_SSL_KEY_PASSWORD": "secret",
        "MYSQL_SSL_CA": str(other.certificate),
        "MYSQL_SSL_CERT": str(other_certificate.certificate),
        "MYSQL_SSL_KEY": str(other_certificate.key),
    }
    load(tmp_path, valid)
    for name, value in {
        **{name: str(garbage) for name in valid if "PASSWORD" not in name},
        "KAFKA_SSL_KEY_PASSWORD": "wrong",
        "MYSQL_SSL_KEY": str(certificate.key),
    }.items():
        with pytest.raises(SettingInvalid, match=f"^{name.replace('PASSWORD', 'LOCATION')} is "):
            load(tmp_path, valid | {name: value})


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for home in ("file", "file/below", "loop", "~nobody-of-this-name/x", "x" * 5000):
        path = home if home.startswith("~") else str(tmp_path / home)
        with pytest.raises(SettingInvalid, match=r"^ORDERFLOW_HOME is "):
            load(tmp_path, {"ORDERFLOW_HOME": path})
    assert load(tmp_path, {"ORDERFLOW_HOME": str(tmp_path / "not/yet")}).home == tmp_path / "not/yet"


def test_values_in_messages_and_docs_are_valid() -> None:
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    paths = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py"), *ROOT.glob("deploy/**/*")]
    texts = {path: path.read_text("utf-8") for path in paths if path.is_file()}
    shown = [
        (path, name.lower(), value)
        for path, text in texts.items()
        for name, value in re.findall(r"\b([A-Z][A-Z0-9_]+)=([\w.:/-]*\w)", text)
        if name.lower() in settings.names() and types[name.lower()] not in (str, str | None)
    ]
    assert len(shown) > 10
    for path, name, value in shown:
        try:
            loading._parse(name, value)
        except SettingInvalid as error:
            pytest.fail(f"{path}: {error.message}")


def test_files_are_the_same_in_every_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("s3cret\n")
    Authority(tmp_path, "ca")
    Path("orders.toml").write_text("")
    given = {"MYSQL_PASSWORD_FILE": "secret", "MYSQL_SSL_CA": "ca.pem", "ORDER_CONTRACT": "./orders.toml"}
    found = load(tmp_path, given)
    assert found.mysql_password == "s3cret"
    for path in (found.mysql_password_file, found.mysql_ssl_ca, found.order_contract):
        assert path and Path(path).is_absolute() and Path(path).exists()
    monkeypatch.chdir("/")
    assert load(tmp_path, found.environment()) == found


def test_a_line_in_dotenv_that_sets_no_setting_is_found(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "ORDER_CONTRCT=a\nKAFKA_TOPICC=b\nKAFKA_TOPIC=c\nXDG_CACHE_HOME=/d\nHTTPS_PROXY=e\nmysql_table=f\nMYSQL_HOST\n"
        "EDITOR\nMYSQL_USER\nMYSQL_USER=g\nMYSQL_PORT=\n"
    )
    assert settings.ignored(tmp_path / ".env") == {
        "KAFKA_TOPICC": "KAFKA_TOPIC=…",
        "MYSQL_HOST": "MYSQL_HOST=…",
        "ORDER_CONTRCT": "ORDER_CONTRACT=…",
        "mysql_table": "MYSQL_TABLE=…",
    }
    assert settings.ignored(tmp_path / "missing") == {}
    assert settings.load({}, tmp_path / ".env").mysql_user == "g"


def test_every_pattern_of_a_setting_has_a_sentence() -> None:
    """Otherwise a message would show a regular expression."""
    patterns = [field.name for field in msgspec.structs.fields(Settings) if "pattern=" in str(field.type)]
    assert sorted(patterns) == sorted(fields.ALLOWED)
