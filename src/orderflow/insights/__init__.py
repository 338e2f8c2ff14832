"""The one read side: what the tables and the topic say, for CLI, dashboard and metrics alike."""
