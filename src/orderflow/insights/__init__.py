"""Read-only queries of the tables and the topic, shared by CLI, dashboard and metrics."""
