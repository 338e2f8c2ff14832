"""The audit: compares every record of the topic with the tables, without Spark."""

from __future__ import annotations

from orderflow.audit.report import Finding, Report
from orderflow.audit.run import run

__all__ = ["Finding", "Report", "run"]
