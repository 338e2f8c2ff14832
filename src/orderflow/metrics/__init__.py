"""Metrics for Prometheus and health checks for orchestrators. docs/metrics.md lists every metric."""
