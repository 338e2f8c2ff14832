"""Every process that a test run starts ends with the run, even if a crash or a signal such as SIGKILL ends the run.

A mark in the environment identifies the processes. All child processes inherit it, in any session.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from orderflow.embedded.signals import interrupt_on_signals

MARK = "TEST_RUN"
_pipe: IO[bytes] | None = None  # the watchdog reads it; it closes when this process ends


def end_processes_with_this_run() -> None:
    """End all later processes with this run. Within another test run, they end with the outer run.

    SIGTERM and SIGHUP let fixtures clean up. SIGINT does too, even if this run was started with SIGINT ignored, like a
    background job of a script: otherwise, tests that interrupt a command would never end. Under nohup, SIGHUP does not
    end this run, but the commands that it starts do not ignore SIGHUP.
    """
    global _pipe  # noqa: PLW0603
    interrupt_on_signals()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if MARK not in os.environ:
        mark = uuid.uuid4().hex
        watchdog = [sys.executable, __file__, mark]
        _pipe = subprocess.Popen(watchdog, stdin=subprocess.PIPE, start_new_session=True).stdin
        os.environ[MARK] = mark


def remove_at_end(folder: Path) -> None:
    """Remove this folder when the run ends, if it still exists."""
    if _pipe:
        _pipe.write(os.fsencode(folder) + b"\n")
        _pipe.flush()


def _watch(mark: str) -> None:
    folders = sys.stdin.buffer.read().splitlines()  # blocks until the run has ended
    while marked := [process for process in psutil.process_iter() if _is_marked(process, mark)]:
        for process in marked:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(marked, 1)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # the process has ended or belongs to another user
        return False


if __name__ == "__main__":
    _watch(sys.argv[1])
