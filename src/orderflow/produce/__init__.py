"""The producer: sends generated orders, or orders from a file, to Kafka and waits for their acknowledgements."""
