"""The servers that `orderflow up` starts if no external ones are configured: Kafka, a database, a Spark cluster."""
