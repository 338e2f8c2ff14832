"""OrderFlow for your own Spark application: read the orders topic, decode by the strict contract, store exactly once.

    from orderflow.spark import orders, read_orders, read_records, write_orders

    read_orders(spark).groupBy("product_category").sum("total_price")         # valid orders as typed, exact columns
    orders(read_records(spark), rejects=True).where("reason IS NOT NULL")      # rejected records with the reason
    write_orders(read_records(spark, startingOffsets="ledger")).start()        # into MySQL, each order exactly once

OrderFlow's settings (environment variables or `.env`) name Kafka and MySQL, unless `settings` is given. All functions
work in a classic session and through Spark Connect. keep_running uses two private attributes of the exception if they
exist. docs/spark.md is the guide; `orderflow sink` uses the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orderflow.spark import tasks  # isort: skip # first, for the reason in tasks.py

from orderflow import settings as settings_module
from orderflow import topic
from orderflow.contract import loader
from orderflow.contract.order_ranges import range_check_of
from orderflow.errors import InputInvalid, SparkUnavailable
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.positions.start_checks import check_accounted_offsets, prepare_start
from orderflow.settings import Settings
from orderflow.spark import realtime as realtime_mode
from orderflow.spark.failures import keep_running
from orderflow.spark.options import kafka_options, offsets_json, redact_secrets
from orderflow.store import schema
from orderflow.store.connection import Connection

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["OBSERVATION", "keep_running", "orders", "read_orders", "read_records", "write_orders"]

OBSERVATION = "orderflow"  # the name of write_orders' sums in StreamingQueryProgress.observedMetrics
_REQUIRED = {"partition": "int", "offset": "bigint", "timestamp": "timestamp", "key": "binary", "value": "binary"}


def read_records(
    spark: SparkSession, settings: Settings | None = None, *, streaming: bool = True, **options: str | int
) -> DataFrame:
    """Read the topic's committed records with Spark's Kafka source: key, value, topic, partition, offset, timestamp.

    `options` are options of that source and override those from the settings: `maxOffsetsPerTrigger=100_000`,
    `minPartitions=12`, `**{"kafka.fetch.max.wait.ms": 5}`. `startingOffsets="ledger"` begins at the positions of
    the ledger in MySQL, as write_orders requires. Without it and without a checkpoint, the topic is read from its
    beginning. `streaming=False` returns a batch DataFrame of the topic's current records.

    Raises SettingInvalid, InputInvalid (an option would also read aborted transactions), SparkUnavailable (no Kafka
    source), and with "ledger" what `prepare_ledger` raises.
    """
    from pyspark.errors import AnalysisException

    settings = settings or _default_settings()
    _check_isolation(options)
    redact_secrets(spark)
    # Spark ignores the case of an option's name.
    canonical = {name.lower(): name for name in ("startingOffsets", "assign", "subscribePattern")}
    options = {canonical.get(name.lower(), name): value for name, value in options.items()}
    given: dict[str, str | int] = {"startingOffsets": "earliest", **kafka_options(settings), **options}
    if given.keys() & {"assign", "subscribePattern"}:
        del given["subscribe"]
    if given["startingOffsets"] == "ledger":
        given["startingOffsets"] = offsets_json(settings.kafka_topic, prepare_ledger(settings))
    reader: Any = spark.readStream if streaming else spark.read
    try:
        records: DataFrame = reader.format("kafka").options(**given).load()
        records.columns  # noqa: B018 - Spark Connect loads the source only now
    except AnalysisException as exception:
        if "kafka" not in str(exception).lower() or "find" not in str(exception).lower():
            raise
        raise SparkUnavailable(
            f"Spark {spark.version} has no Kafka source.",
            hint="Start it with `--packages org.apache.spark:spark-sql-kafka-0-10_2.13:"
            f"{spark.version}` (2.12 for Spark 3.5), or use `orderflow.spark.session.local_session`.",
        ) from exception
    return records


def orders(records: DataFrame, *, rejects: bool = False, settings: Settings | None = None) -> DataFrame:
    """Decode the records by the strict contract. Return the valid orders as typed columns.

    The columns are the standard fields (amounts as DECIMAL(10,2), order_timestamp as a timestamp in UTC),
    kafka_partition, kafka_offset and produced_at. With `rejects`, the result also has the rejected records: `reason`,
    `detail` and `value` are set, and their fields are NULL. An order that was sent twice is in the result twice: only
    write_orders detects duplicates and conflicts, in MySQL.
    """

    settings = settings or _default_settings()
    contract, range_check = loader.contract_of(settings), range_check_of(settings)

    def parse_orders(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return tasks.parse(batches, contract, range_check, rejects=rejects)

    columns = records.select("partition", "offset", "timestamp", "value")
    return columns.mapInArrow(parse_orders, _ddl(tasks.order_schema(contract, rejects=rejects)))


def read_orders(
    spark: SparkSession, settings: Settings | None = None, *, streaming: bool = True, **options: str | int
) -> DataFrame:
    """Read the topic's orders as typed columns: `orders(read_records(…))`."""
    return orders(read_records(spark, settings, streaming=streaming, **options), settings=settings)


def write_orders(
    records: DataFrame,
    settings: Settings | None = None,
    *,
    scratch: Path | None = None,
    check_gaps: bool = True,
    realtime: bool = False,
) -> Any:
    """Return a writer that stores the records in MySQL, each order exactly once.

    It is a DataStreamWriter to start, or for a batch DataFrame a DataFrameWriter to save. A task commits each Arrow
    batch in one transaction for each partition in it. A transaction updates orders, quarantine, rollup and ledger
    together. If the server refuses rows, the batch is repeated in small transactions. The query's progress shows the
    sums under `observedMetrics["orderflow"]`: transactions, stored, duplicates, quarantined.

    The ledger is the checkpoint: use `startingOffsets="ledger"` at every start. It creates missing tables; write_orders
    creates nothing. Records before the ledger's positions are skipped. The DataFrame must contain the whole topic: if
    it lacks records of the topic, or has those of another one, the query fails before it stores later ones. Spark's
    checkpoint can be deleted safely.

    `scratch` is a folder for LOAD DATA files. With `check_gaps`, Kafka is queried for offsets that are missing between
    two records, and the topic of each record is checked. Only the unchanged result of read_records needs no such check.
    `realtime` is for a query with trigger(realTime=…) in a session of `realtime.realtime_session`; it needs `scratch`.

    Raises InputInvalid if a column or `scratch` is missing, or a column has another type. Raises TopicMissing,
    TableDrifted, DatabaseUnavailable, DatabaseRefused, KafkaUnavailable, KafkaRefused.
    """
    from pyspark.sql import functions as F  # noqa: N812 - the usual name

    types = dict(records.dtypes)
    for name, expected in _REQUIRED.items():
        if (actual := types.get(name)) != expected:
            fault = f"has the column {name} as {actual}, not {expected}" if actual else f"lacks the column {name}"
            raise InputInvalid(f"The DataFrame {fault}.", hint="Pass the result of read_records to write_orders.")
    if realtime and not scratch:
        raise InputInvalid("realtime=True needs a folder as scratch.", hint="Pass scratch to write_orders.")
    settings = settings or _default_settings()
    topic_info = topic.describe(settings)
    topic_reader = KafkaTopicReader(settings, topic_info.topic_id)
    # Each task stores one of several partitions, so the order_ids of the tasks alternate.
    sort_by_last_digit = len(topic_info.partitions) > 1

    def commit_orders(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if realtime:
            assert scratch
            return realtime_mode.commit_on_arrival(
                batches, topic_reader, scratch=scratch, sort_by_last_digit=sort_by_last_digit
            )
        return tasks.commit_batches(
            batches, topic_reader, scratch=scratch, sort_by_last_digit=sort_by_last_digit, check_gaps=check_gaps
        )

    optional = ["headers", "topic"] if check_gaps else ["headers"]
    chosen = records.select(*tasks.RECORD_COLUMNS, *(name for name in optional if name in records.columns))
    sums = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("stored", "duplicates", "quarantined")]
    transactions = (
        (realtime_mode.with_flush_rows(chosen) if realtime else chosen)
        .mapInArrow(commit_orders, _ddl(tasks.TRANSACTION_SCHEMA))
        .observe(OBSERVATION, F.count(F.lit(1)).alias("transactions"), *sums)
    )
    if records.isStreaming:
        return transactions.writeStream.format("noop").outputMode("update" if realtime else "append")
    return transactions.write.format("noop").mode("overwrite")


def _check_isolation(options: Mapping[str, str | int]) -> None:
    """Check that the options read only committed records. Raises InputInvalid."""
    for name, value in options.items():
        if name.lower() == "kafka.isolation.level" and str(value).lower() != "read_committed":
            raise InputInvalid(
                f"The option {name} is {value}, but read_records reads committed records only.",
                hint='Remove the option. `spark.readStream.format("kafka")` can read aborted transactions too.',
            )


def prepare_ledger(settings: Settings) -> dict[int, int]:
    """Create missing tables and ledger rows. Return the next offset to store by partition.

    Raises TopicMissing, TopicUnusable, TopicRecreated, OffsetsLost, OffsetsReused, TableDrifted, DatabaseRefused,
    KafkaUnavailable and DatabaseUnavailable.
    """
    schema.prepare(settings)
    with Connection(settings) as connection:
        start = prepare_start(settings, connection)
    check_accounted_offsets(settings, start.accounted)
    return start.positions


def _default_settings() -> Settings:
    """Load the settings from the environment and `.env`. If `orderflow up` runs in ORDERFLOW_HOME, use its servers."""
    from orderflow.running_servers import state_file  # here, because a cluster's workers import this module too

    current = settings_module.load()
    return state_file.find_running(current) or current


def _ddl(schema: pa.Schema) -> str:
    """Return the Arrow schema as Spark DDL."""
    names = {"int32": "INT", "int64": "BIGINT", "double": "DOUBLE", "string": "STRING", "binary": "BINARY"}
    types = {"timestamp[us, tz=UTC]": "TIMESTAMP", "bool": "BOOLEAN", **names}
    return ", ".join(
        f"`{field.name}` {types.get(str(field.type)) or str(field.type).replace('decimal128', 'DECIMAL')}"
        for field in schema
    )
