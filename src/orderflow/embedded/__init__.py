"""The servers `orderflow up` starts where no external one is configured: Kafka, a database, and their Java."""
