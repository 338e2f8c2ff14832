"""orderflow.spark as Spark users use it: classic, through Spark Connect, in the two scripts, and in the examples."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyspark
import pytest
from confluent_kafka import Producer

from orderflow import audit, topic
from orderflow.embedded.process import Process
from orderflow.jvm import jars, java
from orderflow.settings import Settings
from orderflow.store import schema
from tests.support.processes import QUICK_JAVA, TIMEOUT, run, until
from tests.support.sql import select

ROOT = Path(__file__).parents[2]
_COUNT, _BAD, _REPEATED = 4000, 0.02, 0.02
_ORDER = (
    '{{"customer_id": 7, "order_id": "ORDER-{:06d}", "product_name": "Tea", "product_category": "Food",'
    ' "unit_price": 1.10, "quantity": 3, "total_price": 3.30, "order_timestamp": "2025-01-15T{}"}}'
)

pytestmark = pytest.mark.parametrize("database", ["mysql"], indirect=True)


@pytest.fixture
def filled(settings: Settings, tmp_path: Path) -> Settings:
    """Create a topic with valid, bad and repeated records."""
    sent = run(
        *(settings, "produce", "--count", str(_COUNT), "--bad", str(_BAD), "--repeat", str(_REPEATED)), cwd=tmp_path
    )
    assert sent.returncode == 0, sent.stderr
    return settings


def _environment(settings: Settings) -> dict[str, str]:
    home = {"JAVA_HOME": str(java.find().home), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    return os.environ | settings.environment() | home | QUICK_JAVA | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


_CONNECT = pytest.mark.skipif(
    pyspark.__version__ < "4", reason="PySpark 3.5 looks for Connect by modules that need NumPy 1"
)


def _case(settings: Settings, name: str, tmp_path: Path, *, connect: bool = False) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.spark_cases", name],
        # With SPARK_TESTING, Spark Connect uses a free port.
        env=_environment(settings) | ({"TEST_SPARK_CONNECT": "1", "SPARK_TESTING": "1"} if connect else {}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


@contextmanager
def _submitted(settings: Settings, tmp_path: Path, script: Path, *arguments: str) -> Iterator[Process]:
    """Run the script with spark-submit while the block lasts."""
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    options = [
        "--master",
        "local[4]",
        "--jars",
        ",".join(map(str, jars.spark_paths())),
        "--conf",
        "spark.ui.enabled=false",
    ]
    process = Process(
        "spark-submit",
        [str(submit), *options, "--conf", "spark.driver.host=127.0.0.1", str(script), *arguments],
        log=tmp_path / "submit.log",
        env=_environment(settings),
        cwd=tmp_path,
    )
    process.start()
    try:
        yield process
    finally:
        process.kill()


def _proven(settings: Settings) -> audit.Report:
    report = audit.run(settings)
    assert report.is_proven and not report.not_yet_stored, report.sentence()
    return report


@pytest.mark.parametrize(
    "connect", [pytest.param(False, id="classic"), pytest.param(True, id="connect", marks=_CONNECT)]
)
def test_records_are_read_and_are_stored_by_a_batch_and_a_stream(
    filled: Settings, tmp_path: Path, connect: bool
) -> None:
    result = _case(filled, "every_way", tmp_path, connect=connect)
    report = _proven(filled)

    texts = dict.fromkeys(("order_id", "product_name", "product_category"), "string")
    amounts = dict.fromkeys(("unit_price", "total_price"), "decimal(10,2)")
    numbers = dict.fromkeys(("customer_id", "quantity", "kafka_partition"), "int") | {"kafka_offset": "bigint"}
    times = dict.fromkeys(("order_timestamp", "produced_at"), "timestamp")
    assert result["columns"] == texts | amounts | numbers | times
    assert result["records"] == report.records
    conflicts = report.by_reason.get("conflict", 0)  # each is a valid order on its own
    assert result["orders"] == report.stored + report.duplicates + conflicts
    assert sum(result["rejected"].values()) == report.quarantined - conflicts
    assert Decimal(result["revenue"]) >= select(filled, "SELECT SUM(total_price) FROM orders")[0][0]

    errors = result["errors"]
    assert "DataFrame lacks" in errors["middle"]
    assert "The topic has records between them." in errors["start"]
    assert errors["type"] == "The DataFrame has the column key as string, not binary."

    ends = {str(part): bounds.end for part, bounds in topic.bounds(filled, topic.describe(filled).partitions).items()}
    stream, (read, *in_batch) = result["in_stream"], result["in_batch"]
    assert read == sum(end // 2 for end in ends.values())
    assert stream["input"] == report.records - read
    outcomes = zip(("stored", "duplicates", "quarantined"), in_batch, strict=True)
    assert [stream[name] + count for name, count in outcomes] == [
        report.stored,
        report.duplicates,
        report.quarantined,
    ]
    assert ast.literal_eval(str(stream["ends"])) == {filled.kafka_topic: ends}
    assert stream["transactions"] >= len(ends)


_CONTRACT = """
[fields.currency]
type = "string"
values = ["EUR", "USD"]
[fields.tax]
type = "decimal"
scale = 4
required = false
[fields.paid_at]
type = "timestamp"
format = "rfc3339"
[fields.gift]
type = "boolean"
[fields.items]
type = "json"
[fields.points]
type = "integer"
maximum = 1_000_000_000_000
"""


def test_orders_of_a_contract_file_are_read_and_stored(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "contract.toml").write_text(_CONTRACT, "utf-8")
    with_contract = msgspec.structs.replace(
        settings, order_contract=str(tmp_path / "contract.toml"), order_contract_text=_CONTRACT
    )
    sent = run(with_contract, "produce", "--count", "500", "--bad", "0.05", "--repeat", "0.05", cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    result = _case(with_contract, "batch_then_write", tmp_path)
    custom_columns = {"currency": "string", "tax": "decimal(10,4)", "paid_at": "timestamp", "gift": "boolean"}
    custom_columns |= {"items": "string", "points": "bigint"}
    assert result["columns"].items() >= custom_columns.items()
    report = _proven(with_contract)
    conflicts = report.by_reason.get("conflict", 0)
    assert result["orders"] == report.stored + report.duplicates + conflicts
    assert select(settings, "SELECT COUNT(*) FROM orders WHERE currency IS NULL OR paid_at IS NULL") == [(0,)]


def test_the_mysql_script_stores_every_record(filled: Settings, tmp_path: Path) -> None:
    schema.prepare(filled)
    with _submitted(filled, tmp_path, ROOT / "spark_to_mysql.py") as script:
        until(lambda: select(filled, "SELECT COUNT(*) FROM orders_ledger")[0][0] and _all_stored(filled), script)
    _proven(filled)


def _all_stored(settings: Settings) -> bool:
    ends = topic.bounds(settings, topic.describe(settings).partitions)
    [(accounted,)] = select(settings, "SELECT SUM(next_offset) FROM orders_ledger")
    return int(accounted) == sum(bounds.end for bounds in ends.values())


def test_the_console_script_shows_orders_and_reasons(filled: Settings, tmp_path: Path) -> None:
    process = Process(
        "consumer",
        [sys.executable, str(ROOT / "spark_order_consumer.py"), "earliest"],
        log=tmp_path / "consumer.log",
        env=_environment(filled),
        cwd=tmp_path,
    )
    process.start()
    try:
        until(lambda: "ORDER-" in (text := process.log.read_text()) and "wrong_t" in text, process)
    finally:
        process.kill()


@pytest.mark.parametrize("script", ["spark_order_consumer.py", "spark_to_mysql.py"])
def test_a_script_reports_an_invalid_setting(settings: Settings, tmp_path: Path, script: str) -> None:
    environment = _environment(settings) | {"MYSQL_PASSWORD": "wrong", "KAFKA_COMPRESSION": "wrong"}
    result = subprocess.run(
        [sys.executable, str(ROOT / script)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "KAFKA_COMPRESSION" in result.stderr and "Traceback" not in result.stderr


def _send(settings: Settings, *orders: tuple[int, str], extra: bytes | None = None) -> None:
    topic.get_or_create(settings)
    producer = Producer(topic.client_config(settings))
    for number, time in orders:
        producer.produce(settings.kafka_topic, _ORDER.format(number, time).encode())
    if extra is not None:
        producer.produce(settings.kafka_topic, extra)
    producer.flush()


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.glob("*.json") for line in file.read_text().splitlines()]


def _windows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the files that the stream has committed. Other files may be incomplete."""
    import pyarrow.parquet as pq

    logs = [json.loads(line) for log in (folder / "_spark_metadata").glob("[0-9]*") for line in _lines(log)]
    return [row for entry in logs for row in pq.read_table(folder / Path(entry["path"]).name).to_pylist()]


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines()[1:]  # the first line is a version


def test_the_example_revenue_by_category_sums_windows(settings: Settings, tmp_path: Path) -> None:
    _send(settings, (1, "10:01:00"), (2, "10:04:59"), (2, "10:04:59"), (3, "10:05:00"))
    with _submitted(settings, tmp_path, ROOT / "examples/spark/revenue_by_category.py", str(tmp_path)) as script:
        until((tmp_path / "revenue").exists, script)
        _send(settings, (4, "11:00:00"))
        until(lambda: len(_windows(tmp_path / "revenue")) == 2, script)
        windows = _windows(tmp_path / "revenue")
    assert sorted((row["start"].minute, row["orders"], row["revenue"]) for row in windows) == [
        (0, 2, Decimal("6.60")),
        (5, 1, Decimal("3.30")),
    ]


def test_the_example_orders_with_customers_joins_them(settings: Settings, tmp_path: Path) -> None:
    _send(settings, (1, "10:01:00"))
    (tmp_path / "customers.csv").write_text("customer_id,customer_name,country\n7,Ada,SE\n")
    arguments = str(tmp_path / "customers.csv"), str(tmp_path)
    with _submitted(settings, tmp_path, ROOT / "examples/spark/orders_with_customers.py", *arguments) as script:
        until(lambda: _rows(tmp_path / "orders"), script)
    [row] = _rows(tmp_path / "orders")
    assert (row["order_id"], row["customer_name"], row["total_price"]) == ("ORDER-000001", "Ada", 3.30)


def test_the_example_bad_records_writes_reasons(settings: Settings, tmp_path: Path) -> None:
    _send(settings, (1, "10:01:00"), extra=b"{}{}")
    with _submitted(settings, tmp_path, ROOT / "examples/spark/bad_records.py", str(tmp_path)) as script:
        until(lambda: _rows(tmp_path / "bad"), script)
    [row] = _rows(tmp_path / "bad")
    assert (row["reason"], row["value"]) == ("trailing_data", "e317fQ==")
