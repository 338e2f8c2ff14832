"""The producer with a real broker: the topic contains exactly what the producer reports as sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient, KafkaConsumer
from rich.progress import Progress

from orderflow import topic
from orderflow.contract import exact_path
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.errors import RecordRejected
from orderflow.produce import numbering
from orderflow.settings import Settings
from orderflow.topic import Record
from tests.support import shop
from tests.support.processes import run
from tests.support.servers import running

SCRIPT = Path(__file__).parents[2] / "kafka_order_producer.py"


@pytest.fixture
def settings(kafka: str, topic: str) -> Settings:
    return Settings(kafka_bootstrap_servers=kafka, kafka_topic=topic)


class ScriptRunner:
    """Runs `kafka_order_producer.py` in its own folder."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._environ = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "KAFKA_TOPIC": settings.kafka_topic,
        }

    def start(self, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            cwd=self.folder,
            env=self._environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: object, code: int = 0, **environ: str) -> SimpleNamespace:
        return self.finish(self.start(*arguments, **environ), code)

    @staticmethod
    def finish(process: subprocess.Popen[str], code: int = 0) -> SimpleNamespace:
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return SimpleNamespace(
            out=out, err=err, lines=[json.loads(line) for line in out.splitlines() if line[0] == "{"]
        )


def wait_for_line(text: str, process: subprocess.Popen[str]) -> bool:
    """Wait for a line with this text on stderr. Return False if the process ends without one."""
    assert process.stderr is not None
    return any(text in line for line in process.stderr)


@pytest.fixture
def produce(tmp_path: Path, settings: Settings) -> ScriptRunner:
    return ScriptRunner(tmp_path, settings)


def records(settings: Settings) -> list[Record]:
    info = topic.describe(settings)
    return [
        record
        for partition, (first, end) in topic.bounds(settings, info.partitions).items()
        for record in topic.read(settings, partition, first, end)
    ]


def order_ids(settings: Settings) -> list[str]:
    return sorted(exact_path.decode(record.value).order_id for record in records(settings))


def ids(start: int, count: int) -> list[str]:
    return [f"ORDER-{number:06d}" for number in range(start, start + count)]


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.05)


def test_the_topic_contains_what_was_sent(produce: ScriptRunner, settings: Settings) -> None:
    last = produce("--count", 20_000, "--bad", 0.05, "--repeat", 0.05, "--seed", 3, "--json").lines[-1]
    assert last["done"] and (last["sent"], last["failed"], last["in_flight"]) == (20_000, 0, 0)
    assert last["good"] + last["bad"] + last["repeated"] == 20_000
    sent_records = records(settings)
    assert len(sent_records) == 20_000
    assert {record.partition for record in sent_records} == {0, 1, 2}  # the topic was created with three partitions
    orders, rejected = Counter[bytes | None](), 0
    for record in sent_records:
        try:
            assert exact_path.decode(record.value).order_id.encode() == record.key
            orders[record.value] += 1
        except RecordRejected:
            rejected += 1
    conflicts = last["bad"] - rejected
    assert len(orders) - conflicts == last["good"]
    assert orders.total() - len(orders) == last["repeated"]


def test_kafka_python_reads_what_is_sent_by_default(produce: ScriptRunner, settings: Settings) -> None:
    produce("--count", 500)
    consumer = KafkaConsumer(
        settings.kafka_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
    )
    values_by_key = {record.key: record.value for record in islice(consumer, 500)}
    consumer.close()
    assert sorted(values_by_key) == [name.encode() for name in ids(1, 500)]
    assert all(exact_path.decode(value).order_id.encode() == key for key, value in values_by_key.items())


@pytest.mark.parametrize(("codec", "max_ratio"), [("", 0.3), ("gzip", 0.3), ("lz4", 0.5), ("zstd", 0.3), ("none", 1.3)])
def test_batches_are_compressed(produce: ScriptRunner, settings: Settings, codec: str, max_ratio: float) -> None:
    """The empty setting means gzip."""
    produce("--count", 5_000, KAFKA_COMPRESSION=codec)
    plain = sum(len(record.key or b"") + len(record.value or b"") for record in records(settings))
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    stored = sum(
        partition["partition_size"]
        for broker in admin.describe_log_dirs()
        for folder in broker["log_dirs"]
        for topic_folder in folder["topics"]
        if topic_folder["name"] == settings.kafka_topic
        for partition in topic_folder["partitions"]
    )
    admin.close()
    assert max_ratio / 3 < stored / plain < max_ratio


def test_numbers_continue_or_start_where_configured(produce: ScriptRunner, settings: Settings) -> None:
    produce("--count", 10)
    produce("--count", 10, STARTING_ORDER_ID="500")
    produce("--count", 10)
    assert order_ids(settings) == ids(1, 10) + ids(500, 20)


def test_the_highest_number_is_found_in_any_partition(settings: Settings) -> None:
    info = topic.get_or_create(settings)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    good = b'{"customer_id": 1, "order_id": "%b", "product_name": "M", "product_category": "S", "unit_price": 1,'
    good += b' "quantity": 1, "total_price": 1, "order_timestamp": "2025-01-15T14:30:45"}'

    def highest_after(partition: int, key: bytes | None, value: bytes | None) -> int:
        producer.produce(info.name, value, key, partition)
        producer.produce(info.name, None, b"ORDER-000001", (partition + 1) % 3)
        producer.flush(30)
        return next_number(settings) - 1

    assert next_number(settings) == 1
    assert highest_after(2, b"ORDER-000007", None) == 7  # a bad record uses its number too
    assert highest_after(1, b"ORDER-0000000123", b"") == 123
    assert highest_after(0, b"some other key", good % b"ORDER-000200") == 200
    assert highest_after(0, None, good % b"ORDER-000300") == 300
    for key in (b"ORDER-99999", b"order-999999", b"ORDER-999999 ", b"XORDER-999999", b"\xff"):
        assert highest_after(2, key, (good % b"ORDER-999999")[:-1]) == 300  # neither key nor order is valid
    assert highest_after(1, b"ORDER-" + b"9" * 44, good % (b"ORDER-1" + b"0" * 18)) == 300  # never generated


def next_number(settings: Settings, save_threshold: int = numbering.SAVE_THRESHOLD) -> int:
    with Progress(disable=True) as progress:
        return numbering.next_number(settings, topic.describe(settings), progress, save_threshold=save_threshold)


def test_a_long_topic_is_read_once(produce: ScriptRunner, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    read_counts = Counter[int]()

    def counted_read(settings: Settings, partition: int, start: int, end: int) -> Iterator[Record]:
        read_counts[partition] += end - start
        return original_read(settings, partition, start, end)

    original_read = topic.read
    monkeypatch.setattr("orderflow.topic._damage.read", counted_read)
    produce("--count", 3_000, STARTING_ORDER_ID="5000")
    assert next_number(settings, 1_000) == 8_000 and read_counts.total() == 3_000
    produce("--count", 5, STARTING_ORDER_ID="20")
    assert next_number(settings, 1_000) == 8_000 and read_counts.total() == 3_005
    produce("--count", 5)
    assert next_number(settings, 1_000) == 8_005 and read_counts.total() == 3_015

    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_topics([settings.kafka_topic])[settings.kafka_topic].result()
    eventually(lambda: settings.kafka_topic not in admin.list_topics(timeout=10).topics)
    produce("--count", 2_000)  # another topic of the same name
    assert next_number(settings, 1_000) == 2_001


def test_own_orders_are_sent_from_files(produce: ScriptRunner, settings: Settings, tmp_path: Path) -> None:
    header = "customer_id,order_id,product_name,product_category,unit_price,quantity,total_price,order_timestamp"
    row = "87654,ORDER-{:06d},Yoga Mat,Sports & Outdoors,45.90,2,91.80,2025-01-15T14:30:45"
    (tmp_path / "orders.csv").write_text("\n".join([header, *map(row.format, range(1, 1_001))]))
    (tmp_path / "broken.csv").write_text("\n".join([header, row.format(5_000), '"' + "no end" * 30_000]))
    line = b'{"customer_id":1,"order_id":"ORDER-%06d","product_name":"M","product_category":"S","unit_price":1.5,'
    line += b'"quantity":1,"total_price":1.5,"order_timestamp":"2025-01-15T14:30:45"}'
    lines = [line % number for number in range(2_001, 3_001)]
    (tmp_path / "orders.jsonl").write_bytes(b"\n".join([*lines, b"rubbish", b""]))
    assert produce("--file", "orders.csv", "--json").lines[-1]["sent"] == 1_000
    assert produce("--file", "orders.jsonl", "--json").lines[-1]["sent"] == 1_001
    assert (
        "broken.csv is not CSV in line 3: a quote is opened and not closed"
        in produce("--file", "broken.csv", code=2).err
    )
    values_by_key = {record.key or b"": record.value or b"" for record in records(settings)}
    assert values_by_key.pop(b"") == b"rubbish"
    expected = [name.encode() for name in ids(1, 1_000) + ids(2_001, 1_000)]
    assert sorted(values_by_key) == expected, "nothing of broken.csv"
    assert [values_by_key[b"ORDER-%06d" % number] for number in range(2_001, 3_001)] == lines
    assert b'"unit_price": 45.90, "quantity": 2, "total_price": 91.80' in values_by_key[b"ORDER-000777"]


def test_orders_follow_a_contract_file(produce: ScriptRunner, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(shop.TEXT)
    (tmp_path / "orders.jsonl").write_bytes(shop.VALUE.replace(b"123", b"00500"))
    produce("--count", 200, "--seed", 1)  # orders of another contract do not count
    first = produce("--count", 300, "--seed", 1, "--bad", 0.1, "--json", ORDER_CONTRACT="shop.toml").lines[-1]
    produce("--file", "orders.jsonl", ORDER_CONTRACT="shop.toml")
    produce("--count", 50, "--seed", 2, ORDER_CONTRACT="shop.toml")
    order_ids_found = []
    for record in records(settings):
        try:
            order_ids_found.append(exact_path.decode(record.value, shop.CONTRACT).order_id)
        except RecordRejected:
            continue
        assert record.key == order_ids_found[-1].encode()
    assert {f"PO-2025-{number:03d}" for number in range(501, 551)} <= {*order_ids_found}
    conflicts = len(order_ids_found) - len({*order_ids_found})
    assert len({*order_ids_found}) == first["good"] + 51 and conflicts <= first["bad"]
    with_contract = msgspec.structs.replace(settings, order_contract=str(tmp_path / "shop.toml"))
    shown = run(with_contract, "console", "--json", "--from-beginning", "--count", "551", cwd=tmp_path).stdout
    orders = [order for line in shown.splitlines() if (order := json.loads(line).get("order"))]
    assert sorted(order["order_id"] for order in orders) == sorted(order_ids_found)
    assert {order["channel"] for order in orders} == {"web", "store"}


def test_a_line_too_large_for_kafka_is_counted_and_the_others_are_sent(
    produce: ScriptRunner, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "o.jsonl").write_bytes(b'{"order_id": "ORDER-000001"}\n' + b"x" * 2_000_000 + b'\n{"order_id": "B"}\n')
    result = produce("--file", "o.jsonl", "--json", code=1)
    assert (result.lines[-1]["sent"], result.lines[-1]["failed"]) == (2, 1)
    assert "1 not sent" in result.err
    assert sorted(record.key or b"" for record in records(settings)) == [b"B", b"ORDER-000001"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_flushes_the_queue(produce: ScriptRunner, settings: Settings, number: signal.Signals) -> None:
    process = produce.start("--rate", 0, "--json")
    assert process.stdout is not None
    process.stdout.readline()  # the first line comes after 1 s
    process.send_signal(number)
    last = produce.finish(process).lines[-1]
    assert last["done"] and last["in_flight"] == 0
    assert last["sent"] == last["good"] == len(records(settings))
    assert next_number(settings) == last["good"] + 1


def test_the_default_pace_logs_each_order(produce: ScriptRunner, settings: Settings, tmp_path: Path) -> None:
    process = produce.start(PRODUCTION_INTERVAL="0.2")
    log = tmp_path / "kafka_producer.log"
    eventually(lambda: log.exists() and log.read_text().count("Sent ORDER-") >= 3)
    process.send_signal(signal.SIGINT)
    result = produce.finish(process)
    assert result.out.startswith("Sent ")
    assert log.read_text() == result.err
    line = next(line for line in result.err.splitlines() if "Sent ORDER-000001 (partition" in line)
    assert line.startswith(time.strftime("%Y-%m-%dT", time.gmtime())) and line[19:27] == "Z INFO  "


def test_the_pace_is_kept(produce: ScriptRunner) -> None:
    started_at = time.monotonic()
    lines = produce("--rate", 1_000, "--count", 3_000, "--json").lines
    assert time.monotonic() - started_at >= 2.9
    assert lines[0]["sent"] + lines[0]["in_flight"] < 1_500


def test_a_missing_broker_is_reported_after_all_attempts(produce: ScriptRunner) -> None:
    started_at = time.monotonic()
    result = produce(
        code=2,
        KAFKA_BOOTSTRAP_SERVERS=f"localhost:{free_port()}",
        KAFKA_CONNECT_ATTEMPTS="3",
        KAFKA_CONNECT_WAIT="0.1",
    )
    assert time.monotonic() - started_at < 20
    assert [f"Attempt {number} of 3: " in result.err for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "cannot be reached; 3 attempts failed.\nhint: " in result.err


def test_a_broker_that_starts_late_is_reached(produce: ScriptRunner, server_folder: Path, tmp_path: Path) -> None:
    broker = Kafka(server_folder / tmp_path.name, free_port())
    process = produce.start("--count", 5, "--json", KAFKA_BOOTSTRAP_SERVERS=broker.address, KAFKA_CONNECT_ATTEMPTS="30")
    with running(broker):
        assert produce.finish(process).lines[-1]["sent"] == 5


def test_the_producer_waits_for_a_broker_that_stops_answering(
    produce: ScriptRunner, server_folder: Path, tmp_path: Path
) -> None:
    broker = Kafka(server_folder / tmp_path.name, free_port())
    with running(broker):
        pid = broker.process.identity[0]
        process = produce.start("--rate", 200, "--json", KAFKA_BOOTSTRAP_SERVERS=broker.address)
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(pid, signal.SIGSTOP)
        assert wait_for_line("acknowledged nothing", process)
        os.kill(pid, signal.SIGCONT)
        assert wait_for_line("acknowledges again", process)
        os.kill(pid, signal.SIGSTOP)  # this time it is not resumed
        assert wait_for_line("acknowledged nothing", process)
        process.send_signal(signal.SIGINT)
        assert wait_for_line("Stopping", process)
        process.send_signal(signal.SIGINT)
        result = produce.finish(process, code=1)
        last = result.lines[-1]
        assert last["in_flight"] > 0 and last["sent"] + last["in_flight"] == last["good"]
        assert f"{last['in_flight']} not sent" in result.err
        os.kill(pid, signal.SIGCONT)
