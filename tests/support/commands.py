"""Runs every command of the command line, each in an environment that is broken in one way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.core import TyperGroup

from orderflow import cli

SRC = Path(__file__).parents[2] / "src"
ALLOWED_EXIT_CODES = {0, 1, 2, 130, -signal.SIGINT}  # 3 is not allowed: it reports a bug
_SAMPLES = str(SRC.parent / "examples/contracts/shopify-like.jsonl")
_ARGUMENTS = {
    "contract infer": [_SAMPLES],
    "contract check": [_SAMPLES.replace(".jsonl", ".toml"), _SAMPLES],
    "console": ["--count", "1"],
    "produce": ["--count", "1"],
    "sink": ["--once", "--engine", "direct"],
    "track": ["1"],
    "quarantine show": ["1"],
    "quarantine replay": ["--all"],
    "quarantine discard": ["1", "--because", "a test"],
}

# Imports once, then runs each command in a forked process, several at once. After some seconds it sends SIGINT to it.
_DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from orderflow import cli
import orderflow.audit, orderflow.dashboard.serve, orderflow.pipeline.supervisor
import orderflow.embedded.home_lock, orderflow.embedded.stack
import orderflow.cli.doctor.checks, orderflow.cli.failure, orderflow.metrics.sink
import orderflow.store.replay
import orderflow.produce.delivery, orderflow.produce.numbering, orderflow.pipeline.direct
import rich.live, rich.progress, rich.table, rich.text, typer.rich_utils, rich.markdown
commands, folder, setup_code, stdout, seconds, at_once = json.loads(sys.argv[1])
exec(setup_code)
def start(words):
    out = os.open(folder + "/out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    err = os.open(folder + "/err", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for name in ("/out", "/err"):
        os.unlink(folder + name)
    pid = os.fork()
    if not pid:
        os.dup2(out, 1)
        os.dup2(err, 2)
        if stdout == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        elif stdout == "closed":
            os.close(1)
        elif stdout == "pipe":
            reading, writing = os.pipe()
            os.dup2(writing, 1)
            os.close(reading)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["orderflow", *words]
        cli.main()
        os._exit(99)
    return [pid, time.monotonic() + seconds, out, err]
waiting, running, results = list(enumerate(commands)), {}, [None] * len(commands)
while waiting or running:
    while waiting and len(running) < at_once:
        number, words = waiting.pop(0)
        running[number] = start(words)
    time.sleep(0.01)
    for number, (pid, deadline, *files) in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            texts = [os.pread(file, 1 << 20, 0).decode("utf-8", "replace") for file in files]
            results[number] = [os.waitstatus_to_exitcode(status), *texts]
            for file in files:
                os.close(file)
            del running[number]
        elif time.monotonic() > deadline:
            os.kill(pid, signal.SIGINT)
            running[number][1] += 15
json.dump(results, open(folder + "/result", "w"))
"""


class CommandResult(NamedTuple):
    words: list[str]
    code: int
    out: str
    err: str


def all_commands() -> list[list[str]]:
    """Return every command with its required arguments."""
    return [[*name.split(" "), *_ARGUMENTS.get(name, [])] for name in _names("", typer.main.get_command(cli.app))]


def commands_with_settings() -> list[list[str]]:
    """Return every command that reads settings."""
    return [words for words in all_commands() if words[:2] not in (["contract", "infer"], ["contract", "check"])]


def _names(prefix: str, command: object) -> Iterator[str]:
    if not isinstance(command, TyperGroup):
        yield prefix
        return
    for name, child in command.commands.items():
        yield from _names(f"{prefix} {name}".strip(), child)


def run(
    commands: Sequence[list[str]],
    cwd: Path,
    scratch: Path,
    environ: Mapping[str, str],
    *,
    setup_code: str = "",
    stdout: str = "",
    seconds: float = 60,
    at_once: int = 1,
    prefix: Sequence[str] = (),
) -> list[CommandResult]:
    """Run each command in `scratch`, `at_once` of them at a time.

    `setup_code` breaks the environment; `prefix` starts the processes.
    """
    scratch.mkdir(exist_ok=True)
    driver = subprocess.run(
        [
            *prefix,
            sys.executable,
            "-c",
            _DRIVER,
            json.dumps([commands, str(scratch), setup_code, stdout, seconds, at_once]),
        ],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert driver.returncode == 0, driver.stderr
    results = json.loads((scratch / "result").read_text())
    return [CommandResult(words, *result) for words, result in zip(commands, results, strict=True)]


def check(result: CommandResult) -> None:
    """Check that the exit code is documented, and that an error prints a sentence."""
    assert result.code in ALLOWED_EXIT_CODES, result
    assert "Traceback" not in result.out + result.err, result
    assert "Exception ignored" not in result.err, result
    if result.code == 2:
        assert "error: " in result.err, result


def unprivileged_prefix(*capabilities: str) -> list[str]:
    """Return a command prefix that drops read and write rights; empty if the user already lacks them."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root without setpriv may read and write everything")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-sys_admin", *capabilities]
