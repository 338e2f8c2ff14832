"""The producer: made-up orders or a user's own, sent to Kafka at a steady pace until every one is acknowledged."""
