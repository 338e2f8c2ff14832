"""Takes screenshots of the dashboard for the docs from a running system: `python -m tests.support.screenshots FOLDER`.

Starts `orderflow up` in a scratch folder, waits some minutes, and captures the page in three sizes, light and dark.
A second producer sends bad and repeated records.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from tests.support import lifeline
from tests.support.browser import chromium
from tests.support.processes import has_logged, until

SIZES = {"desktop": (1440, 1010), "tablet": (820, 1180), "phone": (390, 844)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", default="300", help="orders per second (%(default)s)")
    parser.add_argument("--minutes", type=float, default=12, help="how long it runs before (%(default)s)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    lifeline.end_processes_with_this_run()
    with tempfile.TemporaryDirectory(prefix="orderflow-screenshots-") as scratch:
        _run(Path(scratch), options.folder.resolve(), options.rate, options.minutes)


def _run(scratch: Path, folder: Path, rate: str, minutes: float) -> None:
    port = str(free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "MYSQL_"))}
    env = environment | {"ORDERFLOW_HOME": str(scratch / "home"), "DASHBOARD_PORT": port}
    up = _orderflow(scratch, env, "up", "--rate", rate)
    faulty = _orderflow(scratch, env | {"STARTING_ORDER_ID": "9000001"}, "produce", "--rate", "5", "--bad", "0.04")
    try:
        up.start()
        until(has_logged(up, "Dashboard:"), up)
        faulty.start()
        time.sleep(60 * minutes)
        _shoot(f"http://127.0.0.1:{port}/", folder)
    finally:
        faulty.stop(30)
        up.stop(120)


def _orderflow(scratch: Path, env: dict[str, str], *arguments: str) -> Process:
    log = scratch / f"{arguments[0]}.log"
    return Process(arguments[0], [sys.executable, "-m", "orderflow", *arguments], log=log, env=env, cwd=scratch)


def _shoot(address: str, folder: Path) -> None:
    with chromium() as browser:
        first_page = browser.new_page()
        first_page.goto(address)
        first_page.wait_for_timeout(130_000)  # the rate chart covers the last two minutes in which a page was open
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                is_mobile = size != "desktop"
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    is_mobile=is_mobile,
                    has_touch=is_mobile,
                    color_scheme=scheme,
                    locale="en-US",
                )
                page = context.new_page()
                page.goto(address)
                page.locator("input[value='15m']").check(force=True)
                page.locator("#records .record").first.wait_for()
                page.locator("#flow-sum:not(:empty)").wait_for()
                page.wait_for_timeout(2000)
                page.screenshot(path=folder / f"dashboard-{size}-{scheme}.png")
                context.close()


if __name__ == "__main__":
    main()
