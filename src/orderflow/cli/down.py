"""`orderflow down`."""

from __future__ import annotations

from orderflow import settings
from orderflow.cli import log
from orderflow.cli.text import safe


def down() -> None:
    """Stop the `orderflow up` of this folder (ORDERFLOW_HOME), in order, and wait until it has stopped.

    Also stops processes that a killed `up` left running. The exit code is 0 even if nothing was running.
    """
    from orderflow.embedded import stack

    log.setup()
    current = settings.load()
    print("Stopped." if stack.down(current) else safe(f"Nothing is running in {current.home}."))
