"""A headless Chromium for tests: the one on PATH, otherwise Debian's, unpacked without root rights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from orderflow.embedded import debian
from orderflow.jvm import cache

_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>sans</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser; skip the test if none is installed and none can be unpacked."""
    on_path = shutil.which("chromium") or shutil.which("google-chrome")
    if not on_path and not debian.available() and not os.environ.get("CI"):
        pytest.skip("no Chromium here: neither on PATH, nor apt-get to download it")
    program, env = (on_path, {}) if on_path else _unpacked()
    # Chromium's sandbox needs rights that containers and root lack. The tests load only their own pages.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--lang=en-US"], env={**os.environ, **env}
        )
        try:
            yield browser
        finally:
            browser.close()


def _unpacked() -> tuple[str, dict[str, str | float | bool]]:
    prefix = cache.get_or_create("chromium", _unpack)
    [program] = prefix.glob("usr/lib/chromium/*headless*shell")
    libraries = [*prefix.glob("lib/*-linux-gnu*"), *prefix.glob("usr/lib/*-linux-gnu*")]
    libraries += prefix.glob("usr/lib/*-linux-gnu*/pulseaudio")
    return str(program), {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "FONTCONFIG_FILE": str(prefix / "fonts.conf"),
    }


def _unpack(prefix: Path) -> None:
    debian.unpack(prefix, ["chromium-headless-shell", "fonts-inter", "fonts-dejavu-core"])
    # A program built on this machine needs this machine's libc, which works only with its own loader.
    for library in ("c", "m", "dl", "rt", "pthread", "resolv", "util"):
        for path in prefix.glob(f"lib/*-linux-gnu*/lib{library}.so.*"):
            path.unlink()
    (prefix / "fonts.conf").write_text(_FONTS)
