"""Write revenue by category in windows of 5 minutes as Parquet: spark-submit … revenue_by_category.py OUTPUT_FOLDER"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import count, sum, window

from orderflow.spark import read_orders

output = sys.argv[1]
spark = SparkSession.builder.appName("Revenue by category").config("spark.sql.shuffle.partitions", 4).getOrCreate()

revenue = (
    read_orders(spark)
    .withWatermark("order_timestamp", "10 minutes")
    .dropDuplicatesWithinWatermark(["order_id"])  # a producer may send an order twice
    .groupBy(window("order_timestamp", "5 minutes"), "product_category")
    .agg(count("*").alias("orders"), sum("total_price").alias("revenue"))
    .select("window.start", "window.end", "product_category", "orders", "revenue")
)
(
    revenue.writeStream.format("parquet")  # each window is written once, after the watermark has passed it
    .option("path", f"{output}/revenue")
    .option("checkpointLocation", f"{output}/checkpoint")
    .trigger(processingTime="10 seconds")
    .start()
    .awaitTermination()
)
