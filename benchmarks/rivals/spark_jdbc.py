"""The original design as a typical script: from_json, and a JDBC append in foreachBatch.

Arguments: the JDBC URL, the folder of the checkpoint, and the jars, separated by colons.
"""

import os
import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, from_json

SCHEMA = (
    "customer_id INT, order_id STRING, product_name STRING, product_category STRING,"
    " unit_price DECIMAL(10,2), quantity INT, total_price DECIMAL(10,2), order_timestamp TIMESTAMP"
)
URL, CHECKPOINT, JARS = sys.argv[1:]


def append(batch: DataFrame, _: int) -> None:
    (
        batch.write.format("jdbc")
        .mode("append")
        .option("url", URL)
        .option("driver", "com.mysql.cj.jdbc.Driver")
        .option("dbtable", os.environ["MYSQL_TABLE"])
        .option("user", os.environ["MYSQL_USER"])
        .option("password", os.environ["MYSQL_PASSWORD"])
        .option("batchsize", 10_000)
        .save()
    )


spark = (
    SparkSession.builder.appName("original design")
    .master("local[4]")
    .config("spark.driver.memory", "1g")
    .config("spark.driver.extraClassPath", JARS)
    .config("spark.driver.extraJavaOptions", "-Duser.timezone=UTC")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
orders = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", os.environ["KAFKA_BOOTSTRAP_SERVERS"])
    .option("subscribe", os.environ["KAFKA_TOPIC"])
    .option("startingOffsets", "earliest")
    .option("maxOffsetsPerTrigger", 300_000)
    .load()
    .select(from_json(col("value").cast("string"), SCHEMA).alias("order"))
    .select("order.*")
)
orders.writeStream.foreachBatch(append).option("checkpointLocation", CHECKPOINT).start().awaitTermination()
