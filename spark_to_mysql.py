"""Store orders from Kafka in MySQL with Spark Structured Streaming, each order exactly once.

    python spark_to_mysql.py
    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0 spark_to_mysql.py

`orderflow sink` runs the same query, with a standby, metrics, triggers and an engine without Spark in addition.
"""

import sys
from pathlib import Path

from pyspark.sql.streaming.query import StreamingQuery

sys.path.insert(0, str(Path(__file__).parent / "src"))

from orderflow.cli import run
from orderflow.spark import keep_running, read_records, write_orders
from orderflow.spark.session import local_session


def main() -> None:
    spark = local_session("Orders to MySQL")

    def start() -> StreamingQuery:
        records = read_records(spark, startingOffsets="ledger", maxOffsetsPerTrigger=300_000)
        query: StreamingQuery = write_orders(records).queryName("orders to MySQL").start()
        return query

    keep_running(start)


if __name__ == "__main__":
    run(main)
