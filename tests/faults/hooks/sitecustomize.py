"""Planned kill points inside the store. Production code does not refer to them.

With this folder on PYTHONPATH, every Python process (Spark's workers inherit it) checks the folder ORDERFLOW_FAULTS
before and after each statement. A file `STATEMENT.before` or `STATEMENT.after` names the action there: `kill`, `stop`,
`hold` until a file `awake` appears, or an error number. It happens once, in the process that renames the file to
`taken.PID`.
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

_MODULE = "orderflow.store.connection"
_FOLDER = Path(os.environ["ORDERFLOW_FAULTS"])


class _Finder(importlib.abc.MetaPathFinder):
    """Loads the connection's module unchanged, then adds the kill points around its statements."""

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
    execute, commit = connection.execute, connection.commit

    def watched_execute(self: Any, statement: str, *values: Any, **placeholders: str) -> Any:
        self.last_statement = statement
        _reach(self, f"{statement}.before")
        result = execute(self, statement, *values, **placeholders)
        _reach(self, f"{statement}.after")
        return result

    def watched_commit(self: Any) -> None:
        of_records = self.last_statement == "advance_ledger"  # other transactions have no kill points
        if of_records:
            _reach(self, "commit.before")
        commit(self)
        if of_records:
            _reach(self, "commit.after")

    connection.execute, connection.commit = watched_execute, watched_commit


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
            # Signal this thread, so that it stops here. A signal to the process may reach another thread first.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case "hold":
            # The kernel resumes stopped processes of dead parents (SIGHUP, SIGCONT). This one ignores SIGHUP and waits.
            ctypes.CDLL(None).signal(signal.SIGHUP, 1)  # SIG_IGN; Python sets handlers only in the main thread
            while not (_FOLDER / "awake").exists():
                time.sleep(0.02)
        case number:
            from mysql.connector import DatabaseError

            with connection.translate_errors():
                raise DatabaseError(f"injected at {point}", errno=int(number))


sys.meta_path.insert(0, _Finder())
