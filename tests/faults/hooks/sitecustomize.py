"""Kill points inside the store, reached by plan and not by luck; production code knows nothing of them.

With this folder on PYTHONPATH, every Python process (Spark's workers inherit it) looks into the folder
ORDERFLOW_FAULTS before and after each statement. A file `STATEMENT.before` or `STATEMENT.after` holds what is to
happen there: `kill`, `stop`, `hold` until a file `awake` appears, or the number of an error. It happens once: the
process that renames the file to `taken.PID` is the one. Spark's micro-batches are short, so that many end.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_STORE, _SPARK = "orderflow.store.connection", "orderflow.pipeline.spark"
_MICRO_BATCH = 5.0  # seconds
_FOLDER = Path(os.environ["ORDERFLOW_FAULTS"])


class _Finder(importlib.abc.MetaPathFinder):
    """Lets these modules be loaded as ever, then puts the kill points around the connection's statements."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in (_STORE, _SPARK):
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            if name == _STORE:
                _watch(module.Connection)
            else:
                module._MICRO_BATCH = _MICRO_BATCH  # type: ignore[attr-defined]

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def _watch(connection: Any) -> None:
    run, commit = connection.run, connection.commit

    def watched_run(self: Any, statement: str, *values: Any, **placeholders: str) -> Any:
        self.last_statement = statement
        _reach(self, f"{statement}.before")
        result = run(self, statement, *values, **placeholders)
        _reach(self, f"{statement}.after")
        return result

    def watched_commit(self: Any) -> None:
        of_records = self.last_statement == "advance_ledger"  # other transactions have no kill points
        if of_records:
            _reach(self, "commit.before")
        commit(self)
        if of_records:
            _reach(self, "commit.after")

    connection.run, connection.commit = watched_run, watched_commit


def _reach(connection: Any, point: str) -> None:
    taken = _FOLDER / f"taken.{os.getpid()}"
    try:
        (_FOLDER / point).rename(taken)
    except FileNotFoundError:
        return
    match taken.read_text():
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            # To this thread, so that it stops here: to the process, another thread may take it, and this one runs on.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case "hold":
            # A stopped process whose parents die is woken by SIGHUP and SIGCONT; this one sleeps on.
            ctypes.CDLL(None).signal(signal.SIGHUP, 1)  # SIG_IGN; Python's own is for main threads only
            while not (_FOLDER / "awake").exists():
                time.sleep(0.02)
        case number:
            from mysql.connector import DatabaseError

            with connection.errors_told():
                raise DatabaseError(f"injected at {point}", errno=int(number))


sys.meta_path.insert(0, _Finder())
