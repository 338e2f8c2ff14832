"""`orderflow down`."""

from __future__ import annotations

from orderflow import settings
from orderflow.cli import log


def down() -> None:
    """Stop the `orderflow up` of this folder (ORDERFLOW_HOME), in order, and wait until it has ended.

    Also stops what a killed `up` has left running. Exit code 0 in either case, and if nothing ran.
    """
    from orderflow.embedded import stack

    log.setup()
    current = settings.load()
    print("Stopped." if stack.down(current) else f"Nothing runs in {current.home}.")
