"""`orderflow down`."""

from __future__ import annotations

from orderflow import settings as settings_module
from orderflow.cli import logs
from orderflow.cli.text import safe


def down() -> None:
    """Stop the `orderflow up` that runs in ORDERFLOW_HOME, in order, and wait until it has stopped.

    Also stops processes that a killed `orderflow up` left running.

    Exit codes: 0 stopped, or nothing was running; 2 it is still running, or a setting is wrong.

    Example: `orderflow down`
    """
    from orderflow.embedded.home_lock import stop_up

    logs.setup()
    settings = settings_module.load()
    print("Stopped." if stop_up(settings) else safe(f"Nothing is running in {settings.home}."))
