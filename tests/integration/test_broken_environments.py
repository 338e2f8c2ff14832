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
from tests import commands
from tests.commands import CommandResult
from tests.integration.test_audit import order, send, store

DATA = Path(__file__).parents[1] / "data"
AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:1", "MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "1"} | {
    "KAFKA_CONNECT_ATTEMPTS": "1"
}
# `up` starts servers if only the output is broken.
FEW = [words for words in commands.all_commands() if words[0] in ("down", "produce", "sink", "status", "up")]
NO_SERVERS = [words for words in commands.all_commands() if words[0] not in ("up",)]
HOSTILE = "\x1b]0;x\x07\u202e\u009b31m \u2028 caf\u00e9 \U0001f600"


def refuses(ended: CommandResult, *parts: str) -> None:
    commands.check(ended)
    assert ended.code == 2, ended
    assert ended.out == ""
    for part in parts:
        assert part in ended.err, ended


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "working folder"
    folder.mkdir()
    return folder


def test_a_setting_that_cannot_work(cwd: Path, tmp_path: Path) -> None:
    for name, value, tried in (
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:99092", commands.commands_with_settings()),
        ("MYSQL_HOST", "db:3306", FEW),
        ("ORDERFLOW_HOME", "/proc/version/x", FEW),
    ):
        for ended in commands.run(tried, cwd, tmp_path / "run", AWAY | {name: value}):
            refuses(ended, f"error: {name} is '{value}': ", "hint: ")
    assert not list(cwd.iterdir())


@pytest.mark.parametrize("kind", ["utf16.env", "latin1.env", "folder", "unreadable"])
def test_a_dotenv_that_cannot_be_read(cwd: Path, tmp_path: Path, kind: str) -> None:
    path, prefix = cwd / ".env", []
    if kind == "folder":
        path.mkdir()
    elif kind == "unreadable":
        path.touch(mode=0)
        prefix = commands.unprivileged_prefix()
    else:
        shutil.copy(DATA / kind, path)
    for ended in commands.run(
        commands.commands_with_settings() if kind == "utf16.env" else FEW, cwd, tmp_path / "run", AWAY, prefix=prefix
    ):
        refuses(ended, f"error: {path} cannot be read: ", "hint: ")


def test_a_working_directory_that_is_gone(cwd: Path, tmp_path: Path) -> None:
    setup_code = f"os.rmdir({str(cwd)!r})"
    for ended in commands.run(commands.commands_with_settings(), cwd, tmp_path / "run", AWAY, setup_code=setup_code):
        refuses(ended, "error: The working directory", "cd")


def test_a_home_that_cannot_be_written(cwd: Path, tmp_path: Path) -> None:
    cwd.chmod(0o500)
    found = commands.run(
        commands.all_commands(), cwd, tmp_path / "run", AWAY, prefix=commands.unprivileged_prefix(), seconds=5
    )
    for ended in found:
        commands.check(ended)
        if ended.words[0] in ("up",):
            refuses(ended, f"error: {cwd / '.orderflow'} cannot be used: Permission denied.", "set ORDERFLOW_HOME to")


def test_a_cache_that_cannot_be_written(cwd: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAVA_HOME": "/nowhere", "PATH": "/bin:/usr/bin"}
    wanted = [["up"]]
    for ended in commands.run(wanted, cwd, tmp_path / "run", environ, prefix=commands.unprivileged_prefix()):
        refuses(ended, f"error: The cache folder {tmp_path / 'cache/orderflow'} cannot be created", "XDG_CACHE_HOME")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may take another user id")
def test_a_user_without_a_name_and_a_home(cwd: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "run"
    scratch.mkdir()
    for folder in (scratch, cwd):
        os.chown(folder, 54321, 54321)
    reads_all = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    prefix = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", *reads_all]
    wanted = [words for words in commands.all_commands() if words[0] not in ("up",)]
    for ended in commands.run(
        [*wanted, ["up"]], cwd, scratch, {"ORDERFLOW_HOME": "/proc/x"} | AWAY, prefix=prefix, seconds=4
    ):
        commands.check(ended)
    [ended] = commands.run([["up"]], cwd, scratch, {}, prefix=prefix)
    refuses(ended, "error: This user has no home folder", "XDG_CACHE_HOME")


@pytest.mark.parametrize("stdout", ["closed", "full", "pipe"])
def test_help_and_contract_on_a_broken_output(cwd: Path, tmp_path: Path, stdout: str) -> None:
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
    for ended in commands.run(wanted, cwd, tmp_path / "run", AWAY, stdout=stdout):
        refuses(ended, "error: Standard output cannot be written: ")


@pytest.mark.parametrize("stdout", ["", "full"])
def test_servers_that_are_away(cwd: Path, tmp_path: Path, stdout: str) -> None:
    for ended in commands.run(NO_SERVERS, cwd, tmp_path / "run", AWAY, stdout=stdout, seconds=4):
        commands.check(ended)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_help_in_another_encoding(cwd: Path, tmp_path: Path, encoding: str) -> None:
    helps = [[*words[: 2 if words[0] in ("quarantine",) else 1], "--help"] for words in commands.all_commands()]
    for ended in commands.run([["--help"], *helps[::4]], cwd, tmp_path / "run", AWAY | {"PYTHONIOENCODING": encoding}):
        commands.check(ended)
        assert ended.code == 0 and ended.out, ended
        assert ended.out.isascii() or encoding == "latin-1"


def _real(shell: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
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
def test_descriptors_that_are_closed_at_the_start(cwd: Path, shell: str, code: int) -> None:
    ended = _real(shell, cwd)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr
    assert "2>" in shell or ended.stderr.startswith("error: Standard output cannot be written: ")
    assert code or json.loads(ended.stdout)


def test_a_log_file_on_a_full_disk_stops_nothing(cwd: Path) -> None:
    (cwd / "kafka_producer.log").symlink_to("/dev/full")
    ended = _real("produce --count 1", cwd)
    assert ended.returncode == 2
    assert "kafka_producer.log cannot be written (No space left on device): log lines go to stderr only" in ended.stderr
    assert ended.stderr.count("Traceback") == 0 and "error: Kafka at localhost:1 cannot be reached" in ended.stderr


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
def test_a_bug_is_a_sentence_and_a_report(cwd: Path, tmp_path: Path, where: str, log_format: str) -> None:
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
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(commands.SRC), "TMPDIR": str(temporary), **AWAY}
        | {"MYSQL_PASSWORD": secret, "KAFKA_PASSWORD_FILE": "password", "LOG_FORMAT": log_format},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3 and ended.stdout == ""
    assert "Traceback" not in ended.stderr
    if log_format == "json":
        line = json.loads(ended.stderr)
        message, hint = line["message"], line["hint"]
    else:
        message, hint = re.fullmatch(r"error: (.*)\nhint: (.*)\n", ended.stderr).groups()  # type: ignore[union-attr]
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
    assert not [text for text in (secret, in_file, "s3cret") if text in report + ended.stderr]


def test_what_ends_a_thread_is_a_sentence_too(cwd: Path) -> None:
    program = (
        "import threading\nfrom orderflow import cli\n"
        "import orderflow.embedded.stack as stack\n"
        "def fail(*_):\n    thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "stack.down = fail\nimport sys; sys.argv = ['orderflow', 'down']; cli.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(commands.SRC), "TMPDIR": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert ended.stderr.startswith("error: This is a bug in OrderFlow: ZeroDivisionError: division by zero")
    assert "Traceback" not in ended.stderr


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


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_whatever_is_shown_is_harmless_in_every_encoding(
    stored: Settings, cwd: Path, tmp_path: Path, encoding: str
) -> None:
    environ = {name: value for name, value in stored.environment().items() if value} | {"PYTHONIOENCODING": encoding}
    for ended in commands.run(READING, cwd, tmp_path / "run", environ):
        commands.check(ended)
        assert ended.code in (0, 1) and ended.out, ended
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", ended.out), ended
        if "--json" in ended.words or "export" in ended.words:
            assert ended.out.isascii()
            assert all(json.loads(line) for line in ended.out.splitlines())


@pytest.mark.parametrize("stdout", ["full", "pipe"])
def test_a_broken_output_is_reported_by_every_command(stored: Settings, cwd: Path, tmp_path: Path, stdout: str) -> None:
    environ = {name: value for name, value in stored.environment().items() if value}
    for ended in commands.run(READING, cwd, tmp_path / "run", environ, stdout=stdout):
        refuses(ended, "error: Standard output cannot be written: ")


def test_files_and_editors_of_the_quarantine(stored: Settings, cwd: Path, tmp_path: Path) -> None:
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
        [ended] = commands.run([["quarantine", *words]], cwd, tmp_path / "run", environ | {"EDITOR": editor})
        commands.check(ended)
        assert ended.code == 2 and part in ended.err, ended
