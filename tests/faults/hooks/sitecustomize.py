"""Kill points inside the store, reached by plan and not by luck; production code knows nothing of them.

With this folder on PYTHONPATH, every Python process (Spark's workers inherit it) looks into the folder
ORDERFLOW_FAULTS before and after each statement. A file `STATEMENT.before` or `STATEMENT.after` holds what is to
happen there: `kill`, `stop`, `hold` until a file `awake` appears, or the number of an error. It happens once: the
process that renames the file to `taken.PID` is the one.
"""

from __future__ import annotations

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

_MODULE = "orderflow.store.connection"
_FOLDER = Path(os.environ["ORDERFLOW_FAULTS"])


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the connection's module be loaded as ever, then puts the kill points around its statements."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_watch(module: ModuleType) -> None:
            execute(module)
            _watch(module.Connection)

        spec.loader.exec_module = execute_and_watch  # type: ignore[method-assign]
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
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            while not (_FOLDER / "awake").exists():
                time.sleep(0.02)
        case number:
            from mysql.connector import DatabaseError

            with connection.errors_told():
                raise DatabaseError(f"injected at {point}", errno=int(number))


sys.meta_path.insert(0, _Finder())
