"""Pages of metrics, as Prometheus reads them, and Debian's own Prometheus, unpacked without root rights."""

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

from orderflow.embedded import debian
from orderflow.jvm import cache

Labels = dict[str, str]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the tests' servers listen on loopback


def get(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body; the status is 0 if no server answers."""
    try:
        with DIRECT.open(urllib.request.Request(url, headers=headers), timeout=10) as response:
            return response.status, response.read().decode()
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
        """Return the sum of the samples with this name and these labels; None if no sample has them."""
        values = [
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the values of this name, keyed by one label."""
        return {sample.labels[label]: sample.value for sample in self.samples if sample.name == name}


def page(port: int, path: str = "metrics", **headers: str) -> Page:
    status, text = get(f"http://127.0.0.1:{port}/{path}", **headers)
    assert status in (0, 200), text
    return Page(text)


def query(port: int, path: str, **parameters: str) -> Any:
    """Return the answer of Prometheus's API; None if it does not answer yet."""
    status, text = get(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    return json.loads(text)["data"] if status == 200 else None


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skip the test if it is not available."""
    if on_path := shutil.which(name):
        return on_path
    if not debian.available() and not os.environ.get("CI"):
        pytest.skip(f"no {name} here: neither on PATH, nor apt-get to download it")
    return str(cache.get_or_create("prometheus", _unpack) / "usr/bin" / name)


def _unpack(prefix: Path) -> None:
    debian.unpack(prefix, ["prometheus"])
