"""Every error OrderFlow raises on purpose, as one tree whose classes decide what happens next.

    OrderFlowError
    ├── RecordRejected            a record's fault: it is quarantined, the others go on   (order.py)
    ├── Unavailable               the environment's: wait, say so, go on when it is back
    │   ├── KafkaUnavailable
    │   ├── DatabaseUnavailable
    │   ├── SparkUnavailable
    │   ├── LedgerGap             the engine is ahead of the ledger: start again from the ledger's position
    │   └── Interrupted           a worker or the engine died; nothing was lost, start again
    ├── Contention                another transaction was in the way: repeat this one at once
    └── OperatorError             only a person can mend it: stop with a non-zero exit
        ├── SettingInvalid        a setting is missing or wrong
        ├── InputInvalid          a file or argument given to a command is wrong
        ├── KafkaRefused          credentials, authorisation, or a request the broker will never accept
        ├── DatabaseRefused       credentials, privileges, or a statement the server will never accept
        ├── TableDrifted          a table differs from what OrderFlow writes
        ├── TopicMissing          the topic does not exist and may not be created
        ├── TopicRecreated        the topic is not the one the ledger knows
        ├── OffsetsLost           unread records are gone from the topic (retention, deletion)
        ├── TooManyRejected       nearly nothing of the topic is an order: the wrong topic, or a broken producer
        ├── EngineFailed          the engine failed many times at the same position
        ├── AlreadyRunning        another process holds what this one needs
        └── StartFailed           a part that `orderflow up` starts did not come up

Each message is a sentence that names the thing and its value; `hint` names the setting or the command that
mends it. Code branches on these types, never on a message's text.
"""

from __future__ import annotations

import json
from typing import ClassVar


class OrderFlowError(Exception):
    """Base of the tree. `hint` says what to do about it; it may be empty only where waiting is the answer."""

    retriable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self).__name__, self.message, self.hint)

    def to_wire(self) -> str:
        """One line of JSON that carries the error's type and texts out of a worker process."""
        return json.dumps({"error": type(self).__name__, "message": self.message, "hint": self.hint})


class RecordRejected(OrderFlowError):
    """A record breaks the contract. `reason` is one of order.Reason; the message is the detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return RecordRejected, (self.reason, self.message)


class Unavailable(OrderFlowError):
    """Something OrderFlow depends on does not answer now. Keep the position, back off, try again."""

    retriable = True


class KafkaUnavailable(Unavailable):
    """No broker answers, or the answer says to try again later."""


class DatabaseUnavailable(Unavailable):
    """MySQL does not answer, or cannot take writes now (restarting, read-only, full, too many connections)."""


class SparkUnavailable(Unavailable):
    """The Spark cluster does not answer, or has no executor for the sink."""


class LedgerGap(Unavailable):
    """Readable records lie before the first one handed over: the batch is refused, lest they be skipped."""


class Interrupted(Unavailable):
    """A worker or the engine died in the middle of a batch. Its transaction was rolled back."""


class Contention(OrderFlowError):
    """A deadlock or a lock timeout: repeat the whole transaction."""

    retriable = True


class OperatorError(OrderFlowError):
    """Waiting will not help: a person has to change something."""


class SettingInvalid(OperatorError):
    """A setting has a value that cannot work."""


class InputInvalid(OperatorError):
    """A file or an argument given to a command cannot be used."""


class KafkaRefused(OperatorError):
    """The broker refuses, and will go on refusing."""


class DatabaseRefused(OperatorError):
    """The database server refuses, and will go on refusing."""


class TableDrifted(OperatorError):
    """A table's shape differs from the one OrderFlow writes."""


class TopicMissing(OperatorError):
    """The topic does not exist, and neither OrderFlow nor the broker may create it."""


class TopicRecreated(OperatorError):
    """The topic was deleted and made again: its offsets mean other records than the ledger's."""


class OffsetsLost(OperatorError):
    """Records that were never stored are no longer in the topic."""


class TooManyRejected(OperatorError):
    """More of the last records were rejected than QUARANTINE_MAX_SHARE allows."""


class EngineFailed(OperatorError):
    """The engine failed many times in a row without any progress, for a reason OrderFlow does not know."""


class AlreadyRunning(OperatorError):
    """Another process of the same kind works in the same place."""


class StartFailed(OperatorError):
    """A part that `orderflow up` starts did not come up, or ended by itself."""


def from_wire(line: str) -> OrderFlowError:
    """The error that `to_wire` wrote.

    Raises ValueError if the line is not one of its lines.
    """
    fields = json.loads(line)
    return _rebuild(fields["error"], fields["message"], fields["hint"])


def _rebuild(name: str, message: str, hint: str) -> OrderFlowError:
    known = {cls.__name__: cls for cls in _tree(OrderFlowError)}
    return known[name](message, hint=hint)


def _tree(cls: type[OrderFlowError]) -> list[type[OrderFlowError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in _tree(child))]
