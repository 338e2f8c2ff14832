"""Cases of the public Spark API. `python -m tests.support.spark_cases NAME` runs one in a process with its own Spark.

With TEST_SPARK_CONNECT=1 it runs through a Spark Connect server. A case prints its result as one JSON object on stdout.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession, functions

from orderflow import settings, topic
from orderflow.errors import InputInvalid
from orderflow.jvm import jars, java
from orderflow.spark import OBSERVATION, orders, read_orders, read_records, write_orders
from tests.support.sql import select

LEDGER: dict[str, Any] = {"startingOffsets": "ledger"}


def spark_session() -> SparkSession:
    """Create a session as a Spark user does, without the configuration of OrderFlow's session."""
    builder = SparkSession.builder.appName("cases").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraClassPath", os.pathsep.join(map(str, jars.spark_paths())))
    fast_start = java.find().options(*java.spark_jvm())
    builder = builder.config("spark.driver.extraJavaOptions", " ".join(fast_start))
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "2")
    if os.environ.get("TEST_SPARK_CONNECT"):
        return builder.config("spark.connect.grpc.binding.address", "127.0.0.1").remote("local[4]").getOrCreate()
    return builder.master("local[4]").getOrCreate()


def batch(spark: SparkSession) -> dict[str, Any]:
    """Return what a batch reads, and its types."""
    typed_orders = read_orders(spark, streaming=False)
    all_records = orders(read_records(spark, streaming=False), rejects=True)
    [total] = typed_orders.agg(
        functions.count("*"), functions.sum("total_price"), functions.max("order_timestamp").cast("string")
    ).collect()
    reasons = all_records.where("reason IS NOT NULL").groupBy("reason").count().collect()
    return {
        "columns": dict(typed_orders.dtypes),
        "orders": total[0],
        "revenue": str(total[1]),
        "rejected": {row["reason"]: row["count"] for row in reasons},
        "records": all_records.count(),
    }


def batch_then_write(spark: SparkSession) -> dict[str, Any]:
    """Read and write a batch in one Spark session."""
    found = batch(spark)
    write_batch(spark)
    return found


def write_batch(spark: SparkSession, **options: Any) -> None:
    """Store a batch."""
    write_orders(read_records(spark, streaming=False, **LEDGER, **options)).save()


def write_stream(spark: SparkSession) -> dict[str, Any]:
    """Store a stream with several tasks per partition, and return what its progress reports."""
    records = read_records(spark, **LEDGER, minPartitions=8, maxOffsetsPerTrigger=1500)
    query = write_orders(records).queryName("cases").trigger(availableNow=True).start()
    query.awaitTermination()
    progress: list[Any] = list(query.recentProgress)
    inputs = [sum(source["numInputRows"] for source in batch_progress["sources"]) for batch_progress in progress]
    observed = [
        _sums(batch_progress["observedMetrics"][OBSERVATION])
        for batch_progress, rows in zip(progress, inputs, strict=True)
        if rows
    ]
    return {
        "input": sum(inputs),
        "ends": next(reversed(progress))["sources"][0]["endOffset"],
        **{
            name: sum(row[name] for row in observed) for name in ("transactions", "stored", "duplicates", "quarantined")
        },
    }


def _sums(row: Any) -> dict[str, int]:
    """Return the sums by name. Spark Connect returns the row's JSON, with separate names and values."""
    values: dict[str, Any] = row if isinstance(row, dict) else row.asDict()  # a dict in Spark 3.5
    if "schema" not in values:
        return values
    return {field["name"]: value for field, value in zip(values["schema"]["fields"], values["values"], strict=True)}


def write_incomplete(spark: SparkSession) -> dict[str, str]:
    """Try to write without some records in the middle, without those at the start, and with another type."""
    errors = {}
    for name, condition in {"middle": "offset % 7 != 3", "start": "offset > 5"}.items():
        try:
            write_orders(read_records(spark, streaming=False, startingoffsets="ledger").where(condition)).save()
        except Exception as error:  # noqa: BLE001 - Spark's
            errors[name] = str(error)
    try:
        write_orders(
            read_records(spark, streaming=False, **LEDGER).withColumn("key", functions.col("key").cast("string"))
        )
    except InputInvalid as error:
        errors["type"] = str(error)
    return errors


def every_way(spark: SparkSession) -> dict[str, Any]:
    """Read a batch, try to write incomplete ones, store the first half as a batch and the rest as a stream."""
    found: dict[str, Any] = batch(spark) | {"errors": write_incomplete(spark)}
    current = settings.load()
    ends = topic.bounds(current, topic.describe(current).partitions)
    halves = {current.kafka_topic: {str(partition): bounds.end // 2 for partition, bounds in ends.items()}}
    write_batch(spark, endingOffsets=json.dumps(halves))
    [in_batch] = select(
        current, "SELECT SUM(next_offset), SUM(`stored`), SUM(duplicates), SUM(quarantined) FROM orders_ledger"
    )
    return found | {"in_batch": [int(number) for number in in_batch], "in_stream": write_stream(spark)}


def main() -> None:
    case: Callable[[SparkSession], dict[str, Any]] = globals()[sys.argv[1]]
    spark = spark_session()
    print(json.dumps({"spark": spark.version, **case(spark)}))
    spark.stop()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
