"""The contract: the definition of an order, and the strict decoding of a message's raw bytes."""
