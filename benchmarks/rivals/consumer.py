"""A typical hand-written consumer with three processes in one group. Run as `consumer.py upsert|load-data`."""

import multiprocessing
import os
import sys
from multiprocessing.connection import wait
from tempfile import NamedTemporaryFile

import msgspec
import mysql.connector
from confluent_kafka import Consumer
from mysql.connector.abstracts import MySQLCursorAbstract

PROCESSES = 3
TABLE = os.environ["MYSQL_TABLE"]
COLUMNS = [
    *("customer_id", "order_id", "product_name", "product_category"),
    *("unit_price", "quantity", "total_price", "order_timestamp"),
]
UPSERT = (
    f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * 8)})"  # noqa: S608
    f" ON DUPLICATE KEY UPDATE {', '.join(f'{column} = VALUES({column})' for column in COLUMNS)}"
)


def upsert(cursor: MySQLCursorAbstract, rows: list[list[object]]) -> None:
    cursor.executemany(UPSERT, rows)  # type: ignore[arg-type]


def load_data(cursor: MySQLCursorAbstract, rows: list[list[object]]) -> None:
    with NamedTemporaryFile("w", encoding="utf-8", suffix=".tsv") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
        file.flush()
        cursor.execute(
            f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE {TABLE} CHARACTER SET utf8mb4 ({', '.join(COLUMNS)})"
        )


METHODS = {"upsert": (1_000, upsert), "load-data": (10_000, load_data)}


def consume(method: str) -> None:
    batch, write = METHODS[method]
    database = mysql.connector.connect(
        host=os.environ["MYSQL_HOST"],
        port=int(os.environ["MYSQL_PORT"]),
        user=os.environ["MYSQL_USER"],
        password=os.environ["MYSQL_PASSWORD"],
        database=os.environ["MYSQL_DATABASE"],
        allow_local_infile=True,
    )
    cursor = database.cursor()
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": os.environ["MYSQL_DATABASE"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([os.environ["KAFKA_TOPIC"]])
    while True:
        rows: list[list[object]] = []
        for message in consumer.consume(batch, timeout=0.01):
            try:
                order = msgspec.json.decode(message.value() or b"")
            except msgspec.DecodeError as error:
                print(f"skipped {message.partition()}:{message.offset()}: {error}", flush=True)
                continue
            rows.append([order[column] for column in COLUMNS])
        if rows:
            write(cursor, rows)
            database.commit()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    consumers = [multiprocessing.Process(target=consume, args=sys.argv[1:], daemon=True) for _ in range(PROCESSES)]
    for process in consumers:
        process.start()
    wait([process.sentinel for process in consumers])
    sys.exit(1)
