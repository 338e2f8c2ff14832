"""Every fault by name. Each does its damage, waits for the sink's log message, if any, and repairs the damage.

Afterwards the sink continues by itself, or the fault has restarted it. `System.prove` checks that nothing was lost or
duplicated. Further faults, which end the sink, are in test_operator.py.
"""

# They register themselves.
from tests.faults.actions import broker, database, producers, sink, takeovers, topic  # noqa: F401
from tests.faults.registry import ENGINES, FAULTS

__all__ = ["ENGINES", "FAULTS"]
