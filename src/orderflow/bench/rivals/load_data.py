"""A consumer as people write it by hand: LOAD DATA LOCAL in batches of 10,000. A script."""

import os
from tempfile import NamedTemporaryFile

import msgspec
import mysql.connector
from confluent_kafka import Consumer

BATCH = 10_000
COLUMNS = [
    *("customer_id", "order_id", "product_name", "product_category"),
    *("unit_price", "quantity", "total_price", "order_timestamp"),
]


def main() -> None:
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
        lines = []
        for message in consumer.consume(BATCH, timeout=0.01):
            try:
                order = msgspec.json.decode(message.value() or b"")
            except msgspec.DecodeError as error:
                print(f"skipped {message.partition()}:{message.offset()}: {error}", flush=True)
                continue
            lines.append("\t".join(str(order[column]) for column in COLUMNS))
        if lines:
            with NamedTemporaryFile("w", encoding="utf-8", suffix=".tsv") as file:
                file.write("\n".join(lines) + "\n")
                file.flush()
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE {os.environ['MYSQL_TABLE']}"
                    f" CHARACTER SET utf8mb4 ({', '.join(COLUMNS)})"
                )
            database.commit()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
