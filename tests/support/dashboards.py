"""A dashboard as a process, and its page in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from orderflow.embedded.process import Process
from orderflow.settings import Settings
from tests.support.processes import has_logged, running, until

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202ered\u2066"
CATEGORIES = ["Sports & Outdoors", "Fashion", "Electronics"]
TIMEOUT_MS = 60_000  # ms, on a machine that other tests share


@contextmanager
def serving(settings: Settings, folder: Path) -> Iterator[Process]:
    """Serve the dashboard while the block lasts."""
    with running(settings, "dashboard", folder=folder, name="dashboard") as process:
        until(has_logged(process, "Dashboard at"), process)
        yield process


@contextmanager
def opened(browser: Browser, address: str, selector: str = "#legend li", **context: object) -> Iterator[Page]:
    """Open a page and wait for this element. Any message on its console fails the test."""
    console_messages: list[str] = []
    with browser.new_context(locale="en-US", **context) as session:  # type: ignore[arg-type]
        page = session.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda message: console_messages.append(message.text))
        page.on("pageerror", lambda error: console_messages.append(str(error)))
        page.on("dialog", lambda dialog: console_messages.append(dialog.message))
        page.goto(address)
        expect(page.locator("#stored")).to_have_text(re.compile("[0-9]"), timeout=TIMEOUT_MS)
        expect(page.locator(selector).first).to_be_visible(timeout=TIMEOUT_MS)
        yield page
    assert console_messages == []


def expect_text(locator: Locator, text: str) -> None:
    """Wait until the element has exactly this text."""
    expect(locator).to_have_text(text, timeout=TIMEOUT_MS)
