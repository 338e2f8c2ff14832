"""What Prometheus and orchestrators are told: metrics and health. docs/metrics.md lists every metric."""
