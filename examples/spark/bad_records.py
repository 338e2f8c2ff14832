"""Write rejected records with their reason to a folder: spark-submit … bad_records.py OUTPUT_FOLDER"""

import sys

from pyspark.sql import SparkSession

from orderflow.spark import orders, read_records

output = sys.argv[1]
spark = SparkSession.builder.appName("Bad records").getOrCreate()

bad = (
    orders(read_records(spark), rejects=True)
    .where("reason IS NOT NULL")
    .selectExpr("reason", "detail", "kafka_partition", "kafka_offset", "produced_at", "base64(value) AS value")
)
(
    bad.writeStream.format("json")
    .option("path", f"{output}/bad")
    .option("checkpointLocation", f"{output}/checkpoint")
    .trigger(processingTime="10 seconds")
    .start()
    .awaitTermination()
)
