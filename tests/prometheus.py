"""What Prometheus reads and does: pages of metrics, and Debian's own Prometheus, unpacked without root."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orderflow.embedded import cache, debian

Labels = dict[str, str]


def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Page:
    """A page of metrics."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of this name with these labels among theirs; None if there is none."""
        found = [
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values of this name by one of its labels."""
        return {sample.labels[label]: sample.value for sample in self.samples if sample.name == name}


def page(port: int, path: str = "metrics", **headers: str) -> Page:
    status, text = get(f"http://127.0.0.1:{port}/{path}", **headers)
    assert status in (0, 200), text
    return Page(text)


def query(port: int, path: str, **parameters: str) -> Any:
    """What Prometheus answers on its API; None where it does not yet."""
    status, text = get(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    return json.loads(text)["data"] if status == 200 else None


def program(name: str) -> str:
    """`prometheus` or `promtool`; skips the test where it cannot be had."""
    if on_path := shutil.which(name):
        return on_path
    if not debian.available() and not os.environ.get("CI"):
        pytest.skip(f"no {name} here: neither on PATH, nor apt-get to download it")
    return str(cache.once("prometheus", _unpack) / "usr/bin" / name)


def _unpack(prefix: Path) -> None:
    debian.unpack(prefix, ["prometheus"])
