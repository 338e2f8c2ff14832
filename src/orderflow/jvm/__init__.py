"""Java for Spark and for the embedded Kafka: which one runs, its jars, and the user's cache of downloads."""
