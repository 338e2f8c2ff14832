"""The benchmark's calculations, without servers."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import backlog, bench_report, sampling, usage
from benchmarks.contest import Measured, median
from benchmarks.sink_latency import percentile
from orderflow.contract.exact_path import decode


def test_the_expected_rows_are_the_sent_orders() -> None:
    count = backlog.CHUNK + 10
    rows = [line.split("\t") for chunk in backlog.lines(islice(backlog.messages(), count)) for line in chunk]
    orders = [decode(value) for _, value, _ in islice(backlog.messages(), count)]
    assert rows == [[*map(str, order.row()[:-1]), order.order_timestamp.replace("T", " ")] for order in orders]
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert len({row[7] for row in rows}) == math.ceil(count / 1000)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_percentile_divides_the_values_by_its_share(values: list[float], share: float) -> None:
    result = percentile(sorted(values), share)
    assert sum(value <= result for value in values) >= share * len(values)
    assert sum(value < result for value in values) < share * len(values)


def _measured(steady: float, table: str = "exact") -> Measured:
    return Measured(
        contestant="x", rows=1, seconds=1, steady=steady, cpu={}, memory={}, table=table, exact=table == "exact"
    )


def test_one_wrong_table_makes_the_median_wrong() -> None:
    assert median([_measured(3), _measured(1), _measured(2)]).steady == 2
    wrong = median([_measured(3, "WRONG: 1 missing"), _measured(1), _measured(2)])
    assert (wrong.steady, wrong.exact, wrong.table) == (2, False, "WRONG: 1 missing")


def test_a_chart_is_valid_and_to_scale() -> None:
    values = [("x<y", 50), ("long", 100), ("other", 20)]
    notes = {"long": "at least once & no more"}
    bars = bench_report.Bars("<a & b>", "rows/s", values, notes, highlighted=["x<y", "long"])
    drawn = ElementTree.fromstring(bench_report.svg(bars))
    texts = {"".join(text.itertext()).strip() for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert texts == {"<a & b> (rows/s)", "x<y", "long", "at least once & no more", "other", "50", "100", "20"}
    paths = [path.attrib for path in drawn.iter("{http://www.w3.org/2000/svg}path")]
    highlighted = [path["d"] for path in paths if bench_report.HIGHLIGHTED in path.get("style", "")]
    short, long = (max(xs) - min(xs) for xs in ([float(x) for x in re.findall(r"[ML] (\S+)", d)] for d in highlighted))
    assert long == pytest.approx(2 * short)


def test_usage_counts_a_process_once_and_its_children_with_it() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        roots = {"sink": parent.pid, "rest": os.getpid()}
        before = usage.sample(roots)
        deadline = time.monotonic() + 30
        while (used := usage.cpu(usage.sample(roots), before)).get("sink: workers", 0) < 0.2:
            assert time.monotonic() < deadline
        assert used["sink"] < 0.2
        memory = usage.memory(usage.sample(roots))
        assert memory["sink: workers"] > 1e6 and memory["rest"] > 1e6
        assert usage.of_sink(memory) == memory["sink"] + memory["sink: workers"]
        assert not usage.cpu(usage.sample({"rest": os.getpid(), "sink": parent.pid}), before).get("sink: workers")
    finally:
        os.killpg(parent.pid, 9)
        parent.wait()


def test_sampling_includes_forked_processes(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "from itertools import islice\n"
        "from benchmarks import backlog\n"
        "from orderflow.contract.fast_path import decode_values\n"
        "values = [value for _, value, _ in islice(backlog.messages(), 1000)]\n"
        "end = time.monotonic() + 1.5\n"
        "child = os.fork()\n"
        "while time.monotonic() < end: decode_values(values)\n"
        "if child: os.waitpid(child, 0)\n"
    )
    folder = tmp_path / "seen"
    env = os.environ | sampling.install(folder)
    started_at = time.monotonic()
    subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=60)
    elapsed = time.monotonic() - started_at
    assert len(list(folder.glob("*.json"))) == 2
    seconds_by_step = sampling.read(folder)
    assert seconds_by_step.keys() == {"decode and check"}
    assert 1 < seconds_by_step["decode and check"] < 2 * elapsed
