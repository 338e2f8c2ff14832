"""Join orders with a table of customers: spark-submit … orders_with_customers.py CUSTOMERS.csv OUTPUT_FOLDER"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import broadcast

from orderflow.spark import read_orders

customers_file, output = sys.argv[1:3]
spark = SparkSession.builder.appName("Orders with customers").getOrCreate()

customers = spark.read.csv(customers_file, header=True, schema="customer_id INT, customer_name STRING, country STRING")
joined = (
    read_orders(spark)
    .join(broadcast(customers), "customer_id", "left")  # keeps orders of unknown customers
    .select("order_id", "customer_id", "customer_name", "country", "product_name", "total_price", "order_timestamp")
)
(
    joined.writeStream.format("json")
    .option("path", f"{output}/orders")
    .option("checkpointLocation", f"{output}/checkpoint")
    .trigger(processingTime="10 seconds")
    .start()
    .awaitTermination()
)
