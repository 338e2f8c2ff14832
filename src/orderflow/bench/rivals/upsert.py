"""A consumer as people write it by hand: INSERT … ON DUPLICATE KEY UPDATE in batches of 1,000. A script."""

import os

import msgspec
import mysql.connector
from confluent_kafka import Consumer

BATCH = 1_000
COLUMNS = [
    *("customer_id", "order_id", "product_name", "product_category"),
    *("unit_price", "quantity", "total_price", "order_timestamp"),
]
UPSERT = (
    f"INSERT INTO {os.environ['MYSQL_TABLE']} ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * 8)})"  # noqa: S608
    f" ON DUPLICATE KEY UPDATE {', '.join(f'{column} = VALUES({column})' for column in COLUMNS)}"
)


def main() -> None:
    database = mysql.connector.connect(
        host=os.environ["MYSQL_HOST"],
        port=int(os.environ["MYSQL_PORT"]),
        user=os.environ["MYSQL_USER"],
        password=os.environ["MYSQL_PASSWORD"],
        database=os.environ["MYSQL_DATABASE"],
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
        rows = []
        for message in consumer.consume(BATCH, timeout=0.01):
            try:
                order = msgspec.json.decode(message.value() or b"")
            except msgspec.DecodeError as error:
                print(f"skipped {message.partition()}:{message.offset()}: {error}", flush=True)
                continue
            rows.append([order[column] for column in COLUMNS])
        if rows:
            cursor.executemany(UPSERT, rows)
            database.commit()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
