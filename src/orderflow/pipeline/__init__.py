"""From the topic to the store: Spark's session, the Kafka source, the sink function, and who keeps them running."""
