"""OrderFlow: orders from Kafka through Spark into MySQL, every order exactly once, and proven."""
