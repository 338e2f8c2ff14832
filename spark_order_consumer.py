"""Print orders on the console as they arrive, with a Spark streaming query. Rejected records show their reason.

    python spark_order_consumer.py [earliest]
    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0 spark_order_consumer.py

`orderflow console` shows the same with a plain Kafka client, which starts at once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from orderflow.cli import run
from orderflow.spark import orders, read_records
from orderflow.spark.session import local_session

ROWS = 1000  # per batch


def main() -> None:
    spark = local_session("Orders on the console")
    start = "earliest" if "earliest" in sys.argv else "latest"
    # The console sink prints at most `numRows` rows of a batch, so a batch must not have more.
    records = read_records(spark, startingOffsets=start, maxOffsetsPerTrigger=ROWS)
    rows = orders(records, rejects=True).drop("value")
    query = rows.writeStream.format("console").option("truncate", False).option("numRows", ROWS).start()
    query.awaitTermination()


if __name__ == "__main__":
    run(main)
