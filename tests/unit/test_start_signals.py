"""A signal during the imports of a command ends the process without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# Python 3.11 raises a RuntimeError from an exception of __set_name__.
INTERRUPTED_MODULE = """
import os, time

class SignalsItself:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), {number})
        time.sleep(30)

class Owner:
    value = SignalsItself()
"""


@pytest.mark.parametrize(
    ("command", "module", "number", "exit_code"),
    [
        ("sink", "typer", signal.SIGINT, 130),
        ("sink", "typer", signal.SIGTERM, -signal.SIGTERM),
        ("sink", "confluent_kafka", signal.SIGINT, 130),
        ("sink", "confluent_kafka", signal.SIGTERM, -signal.SIGTERM),
        ("audit", "confluent_kafka", signal.SIGINT, 130),
        ("audit", "confluent_kafka", signal.SIGTERM, -signal.SIGTERM),
    ],
)
def test_a_signal_during_an_import(
    tmp_path: Path, command: str, module: str, number: signal.Signals, exit_code: int
) -> None:
    (tmp_path / f"{module}.py").write_text(INTERRUPTED_MODULE.format(number=int(number)))
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-m", "orderflow", command],
        env=os.environ | {"PYTHONPATH": path, "ORDERFLOW_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (exit_code, "", "")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_second_signal_ends_a_sink_that_stops(number: signal.Signals, exit_code: int) -> None:
    code = (
        "import os, time; from orderflow.pipeline.process_restart import stop_on_signals\n"
        "with stop_on_signals(lambda: print('stopping', flush=True)):\n"
        f"    for _ in range(2): os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(30)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (exit_code, "stopping\n", "")


def test_a_stop_that_takes_too_long_ends_the_sink() -> None:
    """For example, MySQL hangs: a statement then waits for two minutes."""
    code = (
        "import os, signal, time; from orderflow.pipeline.process_restart import stop_on_signals\n"
        "with stop_on_signals(lambda: None, timeout=0.2):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); time.sleep(30)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (143, "")
    assert "The sink has not stopped within 0 seconds. It is ended; nothing is lost." in result.stderr


def test_a_stop_has_its_limit_also_if_nobody_reads_the_log() -> None:
    code = (
        "import fcntl, logging, os, signal, subprocess, sys, time\n"
        "from orderflow.pipeline.process_restart import stop_on_signals\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True); print(child.pid, flush=True)\n"
        "fcntl.fcntl(2, fcntl.F_SETPIPE_SZ, 4096); os.write(2, b'x' * 4096); logging.basicConfig()\n"
        "with stop_on_signals(lambda: None, timeout=0.2):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 143
        assert process.stdout
        child = int(process.stdout.readline())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
