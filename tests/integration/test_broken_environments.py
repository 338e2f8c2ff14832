"""No Python exception reaches a user. Every command in every broken environment ends with a sentence and a code."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.settings import Settings
from tests.support import commands
from tests.support.commands import CommandResult
from tests.support.records import order, send, store

DATA = Path(__file__).parents[1] / "data"
AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:1", "MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "1"} | {
    "KAFKA_CONNECT_ATTEMPTS": "1"
}
# `up` would start servers if only the output is broken.
SOME_COMMANDS = [words for words in commands.all_commands() if words[0] in ("down", "produce", "sink", "status", "up")]
ALL_BUT_UP = [words for words in commands.all_commands() if words[0] not in ("up",)]
_AT_ONCE = 4  # commands that mostly wait for a server that is not there
HOSTILE = "\x1b]0;x\x07\u202e\u009b31m \u2028 caf\u00e9 \U0001f600"


def assert_refused(result: CommandResult, *parts: str) -> None:
    commands.check(result)
    assert result.code == 2, result
    assert result.out == ""
    for part in parts:
        assert part in result.err, result


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "working folder"
    folder.mkdir()
    return folder


def test_an_invalid_setting_is_reported(cwd: Path, tmp_path: Path) -> None:
    for name, value, selected in (
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:99092", commands.commands_with_settings()),
        ("MYSQL_HOST", "db:3306", SOME_COMMANDS),
        ("ORDERFLOW_HOME", "/proc/version/x", SOME_COMMANDS),
    ):
        for result in commands.run(selected, cwd, tmp_path / "run", AWAY | {name: value}):
            assert_refused(result, f"error: {name} is '{value}': ", "hint: ")
    assert not list(cwd.iterdir())


@pytest.mark.parametrize("kind", ["utf16.env", "latin1.env", "folder", "unreadable"])
def test_a_dotenv_that_cannot_be_read_is_reported(cwd: Path, tmp_path: Path, kind: str) -> None:
    path, prefix = cwd / ".env", []
    if kind == "folder":
        path.mkdir()
    elif kind == "unreadable":
        path.touch(mode=0)
        prefix = commands.unprivileged_prefix()
    else:
        shutil.copy(DATA / kind, path)
    for result in commands.run(
        commands.commands_with_settings() if kind == "utf16.env" else SOME_COMMANDS,
        cwd,
        tmp_path / "run",
        AWAY,
        prefix=prefix,
    ):
        assert_refused(result, f"error: {path} cannot be read: ", "hint: ")


def test_a_deleted_working_directory_is_reported(cwd: Path, tmp_path: Path) -> None:
    setup_code = f"os.rmdir({str(cwd)!r})"
    for result in commands.run(commands.commands_with_settings(), cwd, tmp_path / "run", AWAY, setup_code=setup_code):
        assert_refused(result, "error: The working directory", "cd")


def test_a_home_that_cannot_be_written_is_reported(cwd: Path, tmp_path: Path) -> None:
    cwd.chmod(0o500)
    prefix = commands.unprivileged_prefix()
    for result in commands.run(ALL_BUT_UP, cwd, tmp_path / "run", AWAY, prefix=prefix, seconds=5, at_once=_AT_ONCE):
        commands.check(result)
    [result] = commands.run([["up"]], cwd, tmp_path / "run", AWAY, prefix=prefix)
    assert_refused(result, f"error: {cwd / '.orderflow'} cannot be used: Permission denied.", "set ORDERFLOW_HOME to")


def test_a_cache_that_cannot_be_written_is_reported(cwd: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAVA_HOME": "/nowhere", "PATH": "/bin:/usr/bin"}
    wanted = [["up"]]
    for result in commands.run(wanted, cwd, tmp_path / "run", environ, prefix=commands.unprivileged_prefix()):
        assert_refused(
            result, f"error: The cache folder {tmp_path / 'cache/orderflow'} cannot be created", "XDG_CACHE_HOME"
        )


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may take another user id")
def test_a_user_without_a_name_and_a_home_gets_a_sentence(cwd: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "run"
    scratch.mkdir()
    for folder in (scratch, cwd):
        os.chown(folder, 54321, 54321)
    reads_all = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    prefix = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", *reads_all]
    wanted = [words for words in commands.all_commands() if words[0] not in ("up",)]
    for result in commands.run(
        [*wanted, ["up"]],
        cwd,
        scratch,
        {"ORDERFLOW_HOME": "/proc/x"} | AWAY,
        prefix=prefix,
        seconds=4,
        at_once=_AT_ONCE,
    ):
        commands.check(result)
    [result] = commands.run([["up"]], cwd, scratch, {}, prefix=prefix)
    assert_refused(result, "error: This user has no home folder", "XDG_CACHE_HOME")


@pytest.mark.parametrize("stdout", ["closed", "full", "pipe"])
def test_a_broken_output_is_reported_without_servers(cwd: Path, tmp_path: Path, stdout: str) -> None:
    helps = [[*words[: 2 if words[0] in ("quarantine",) else 1], "--help"] for words in commands.all_commands()]
    wanted = [
        ["--help"],
        ["--version"],
        *helps[::4],
        ["contract"],
        ["contract", "--format", "sql"],
        ["init", "--grants"],
        ["down"],
    ]
    for result in commands.run(wanted, cwd, tmp_path / "run", AWAY, stdout=stdout):
        assert_refused(result, "error: Standard output cannot be written: ")


@pytest.mark.parametrize("stdout", ["", "full"])
def test_unavailable_servers_are_reported(cwd: Path, tmp_path: Path, stdout: str) -> None:
    for result in commands.run(ALL_BUT_UP, cwd, tmp_path / "run", AWAY, stdout=stdout, seconds=4, at_once=_AT_ONCE):
        commands.check(result)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_help_is_shown_in_every_encoding(cwd: Path, tmp_path: Path, encoding: str) -> None:
    helps = [[*words[: 2 if words[0] in ("quarantine",) else 1], "--help"] for words in commands.all_commands()]
    for result in commands.run([["--help"], *helps[::4]], cwd, tmp_path / "run", AWAY | {"PYTHONIOENCODING": encoding}):
        commands.check(result)
        assert result.code == 0 and result.out, result
        assert result.out.isascii() or encoding == "latin-1"


def _run_shell(shell: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the shell command in a new process whose descriptors the shell sets."""
    return subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -m orderflow {shell}'],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(commands.SRC), **AWAY, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("contract >&-", 2),
        ("contract >/dev/full", 2),
        ("contract <&- 2>&-", 0),
        ("contract 2>/dev/full", 0),
        ("status <&- >&- 2>&-", 2),
        ("status 2>/dev/full", 2),
        ("contract --format sql <&- >&-", 2),
    ],
)
def test_descriptors_that_are_closed_at_the_start_are_reported(cwd: Path, shell: str, code: int) -> None:
    result = _run_shell(shell, cwd)
    assert result.returncode == code
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr
    assert "2>" in shell or result.stderr.startswith("error: Standard output cannot be written: ")
    assert code or json.loads(result.stdout)


def test_a_log_file_on_a_full_disk_stops_nothing(cwd: Path) -> None:
    (cwd / "kafka_producer.log").symlink_to("/dev/full")
    result = _run_shell("produce --count 1", cwd)
    assert result.returncode == 2
    assert (
        "kafka_producer.log cannot be written (No space left on device): log lines go to stderr only" in result.stderr
    )
    assert result.stderr.count("Traceback") == 0 and "error: Kafka at localhost:1 cannot be reached" in result.stderr


_BUG = """
import sys
from orderflow import cli
def fail(*_): raise KeyError({message!r})
sys.modules["orderflow.cli.status"]._read = fail
sys.argv = ["orderflow", "status"]
cli.main()
"""


@pytest.mark.parametrize("where", ["home", "temporary", "nowhere"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_bug_is_reported_in_a_sentence_and_a_file(cwd: Path, tmp_path: Path, where: str, log_format: str) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    if where == "home":
        (cwd / ".orderflow").mkdir()
    secret, in_file = "s3cret'\"\u00e9", "fr0m-a-file"
    (cwd / "password").write_text(in_file)
    program = _BUG.format(message=f"at {secret} and {in_file}\nand more")
    if where == "nowhere":
        program = (
            "import tempfile\ndef mkstemp(**_): raise OSError(28, 'No space left on device')\n"
            "tempfile.mkstemp = mkstemp\n" + program
        )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(commands.SRC), "TMPDIR": str(temporary), **AWAY}
        | {"MYSQL_PASSWORD": secret, "KAFKA_PASSWORD_FILE": "password", "LOG_FORMAT": log_format},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 3 and result.stdout == ""
    assert "Traceback" not in result.stderr
    if log_format == "json":
        line = json.loads(result.stderr)
        message, hint = line["message"], line["hint"]
    else:
        message, hint = re.fullmatch(r"error: (.*)\nhint: (.*)\n", result.stderr).groups()  # type: ignore[union-attr]
    assert message.startswith("This is a bug in OrderFlow: KeyError: ") and "status.py line " in message
    folder = {"home": cwd / ".orderflow", "temporary": temporary}.get(where)
    if folder is None:
        assert hint == "Please report it. The details could not be written to a file: No space left on device."
        report = ""
    else:
        [path] = folder.glob("orderflow-report-*.txt")
        assert str(path) in hint
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        report = path.read_text()
        assert "Traceback" in report and "status.py" in report and "OrderFlow " in report
    assert not [text for text in (secret, in_file, "s3cret") if text in report + result.stderr]


def test_an_exception_in_a_thread_is_reported_as_a_bug(cwd: Path) -> None:
    program = (
        "import threading\nfrom orderflow import cli\n"
        "import orderflow.embedded.home_lock as home_lock\n"
        "def fail(*_):\n    thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "home_lock.stop_up = fail\nimport sys; sys.argv = ['orderflow', 'down']; cli.main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(commands.SRC), "TMPDIR": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert result.stderr.startswith("error: This is a bug in OrderFlow: ZeroDivisionError: division by zero")
    assert "Traceback" not in result.stderr


@pytest.fixture
def stored(settings: Settings) -> Settings:
    """Store an order and an invalid record, both with text that a terminal would interpret."""
    send(settings, [order(1, product_name=HOSTILE), b'{"\x1b[31m\xe2\x80\xae' + HOSTILE.encode()])
    store(settings)
    return settings


READING = [
    ["status"],
    ["status", "--json"],
    ["track", "1"],
    ["track", "1", "--json"],
    ["console", "--from-beginning", "--count", "2"],
    ["console", "--from-beginning", "--count", "2", "--json"],
    ["quarantine", "list"],
    ["quarantine", "list", "--json"],
    ["quarantine", "show", "1"],
    ["quarantine", "show", "1", "--json"],
    ["quarantine", "replay", "--all", "--dry-run"],
    ["quarantine", "replay", "--all", "--dry-run", "--json"],
    ["quarantine", "export"],
    ["audit"],
    ["audit", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["accept-loss"],
    ["accept-loss", "--json"],
    ["init"],
    ["produce", "--count", "1"],
    ["produce", "--count", "1", "--json"],
]


@pytest.mark.parametrize(("database", "encoding"), [("mysql", "ascii"), ("mariadb", "utf-8")], indirect=["database"])
def test_shown_data_is_harmless_in_every_encoding(stored: Settings, cwd: Path, tmp_path: Path, encoding: str) -> None:
    environ = {name: value for name, value in stored.environment().items() if value} | {"PYTHONIOENCODING": encoding}
    for result in commands.run(READING, cwd, tmp_path / "run", environ):
        commands.check(result)
        assert result.code in (0, 1) and result.out, result
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", result.out), result
        if "--json" in result.words or "export" in result.words:
            assert result.out.isascii()
            assert all(json.loads(line) for line in result.out.splitlines())


@pytest.mark.parametrize(("database", "stdout"), [("mysql", "full"), ("mariadb", "pipe")], indirect=["database"])
def test_a_broken_output_is_reported_by_every_command(stored: Settings, cwd: Path, tmp_path: Path, stdout: str) -> None:
    environ = {name: value for name, value in stored.environment().items() if value}
    for result in commands.run(READING, cwd, tmp_path / "run", environ, stdout=stdout):
        assert_refused(result, "error: Standard output cannot be written: ")


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_unusable_files_and_editors_are_reported(stored: Settings, cwd: Path, tmp_path: Path) -> None:
    (cwd / "file").touch()
    environ = {name: value for name, value in stored.environment().items() if value}
    for words, editor, part in (
        (["export", "--raw", "file"], "", "file/1.bin cannot be written"),
        (["export", "--raw", "/proc/x"], "", "/proc/x/1.bin cannot be written"),
        (["replay", "--edit", "1", "--value-file", "file/below"], "", "file/below cannot be read"),
        (["replay", "--edit", "1"], "vi '", "vi ' cannot be started"),
        (["replay", "--edit", "1"], "/nowhere", "/nowhere cannot be started"),
        (["replay", "--edit", "1"], "rm", "rm left no readable file"),
    ):
        [result] = commands.run([["quarantine", *words]], cwd, tmp_path / "run", environ | {"EDITOR": editor})
        commands.check(result)
        assert result.code == 2 and part in result.err, result
