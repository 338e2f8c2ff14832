"""The proof: every record of the topic against the tables, independently of Spark."""

from __future__ import annotations

from orderflow.audit.report import Finding, Report
from orderflow.audit.run import run

__all__ = ["Finding", "Report", "run"]
