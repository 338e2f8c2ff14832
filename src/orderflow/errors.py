"""All errors that OrderFlow raises intentionally. The class of an error decides what happens next.

    OrderFlowError
    ├── RecordRejected            a record breaks the contract: it is quarantined, the other records are stored
    ├── Unavailable               a dependency is unavailable: log it, wait, and resume
    │   ├── KafkaUnavailable
    │   ├── DatabaseUnavailable
    │   ├── UnknownDatabaseError  an error number that is not listed: retry for a bounded time, then OperatorError
    │   ├── SparkUnavailable
    │   ├── OutOfResources        this machine is short of disk space, memory or file descriptors
    │   ├── LedgerGap             the engine is ahead of the ledger: restart at the ledger's position
    │   └── Interrupted           a worker or the engine died or hangs: restart at the ledger's position
    │       ├── JvmExited         Spark's JVM is gone: the sink re-executes its process
    │       └── RestartRequired   the topic or the tables have changed: restart, and the start handles the change
    ├── Contention                a conflict with another transaction: retry this one at once, later restart
    ├── StopRequested             a stop was requested during a long wait: end without an error
    └── OperatorError             only a person can fix it: stop with a non-zero exit code
        ├── SettingInvalid        a setting is missing or wrong
        ├── ContractInvalid       the contract file contradicts itself, or differs from the tables' contract
        ├── InputInvalid          a file or an argument of a command is wrong
        ├── ExtraMissing          an optional part of OrderFlow is not installed
        ├── FileUnusable          a file or folder that OrderFlow needs cannot be read or written: rights, a full disk
        ├── KafkaRefused          wrong credentials, missing rights, or a request that the broker never accepts
        ├── DatabaseRefused       wrong credentials, missing privileges, or a statement that the server never accepts
        │   └── TransactionTooLarge   smaller ones may succeed
        ├── TableDrifted          a table's definition differs from the expected one
        ├── SchemaTooNew          a newer version of OrderFlow has changed the tables
        ├── TopicMissing          the topic does not exist and must not be created
        ├── TopicUnusable         the topic is compacted or has no id, so a loss could go unnoticed
        ├── TopicRecreated        the topic's id differs from the ledger's
        ├── OffsetsLost           records that were never stored are no longer in the topic (retention, deletion)
        ├── OffsetsReused         Kafka lost stored records, and has other records at their offsets
        ├── BatchDamaged          a batch in the topic is damaged: wrong checksum, or it cannot be decoded
        ├── TooManyQuarantined    almost all records are quarantined: the wrong topic, or a faulty producer
        ├── EngineFailed          the engine failed many times at the same position
        ├── AlreadyRunning        another process uses the same folder, or does not leave it
        └── StartFailed           a process did not become ready, or something it needs could not be downloaded

Each message is a sentence that names the thing and its value. `hint` names the setting or the command that fixes it.
Code branches on these classes, never on a message's text.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class OrderFlowError(Exception):
    """Base class. `hint` describes what to do; it may be empty only if waiting is enough."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # a traceback in a user's own program shows it

    @property
    def name(self) -> str:
        """The name of the class; for a class of another module, of its nearest base class in this module."""
        return next(cls.__name__ for cls in type(self).__mro__ if cls.__module__ == __name__)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.name, self._arguments())

    def to_json(self) -> str:
        """Return the error's type and texts as one line of JSON, to leave a worker process."""
        return json.dumps({"error": self.name} | self._arguments())

    def _arguments(self) -> dict[str, str]:
        return {"message": self.message, "hint": self.hint}


class RecordRejected(OrderFlowError):
    """A record breaks the contract. `reason` is a value of contract.definition.Reason; the message is the detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    def _arguments(self) -> dict[str, str]:
        return {"reason": self.reason, "detail": self.message}


class Unavailable(OrderFlowError):
    """Something that OrderFlow depends on does not answer now. Keep the position, back off, and retry."""


class KafkaUnavailable(Unavailable):
    """No broker answers, or the answer is a retriable error."""


class DatabaseUnavailable(Unavailable):
    """MySQL does not answer, or cannot take writes now (restarting, read-only, full, too many connections)."""


class UnknownDatabaseError(Unavailable):
    """The database server raised an error with an unlisted number, so it may be temporary or permanent.

    The caller retries for a bounded time, and then raises DatabaseRefused.
    """


class SparkUnavailable(Unavailable):
    """The Spark cluster does not answer, or has no executor for the sink."""


class OutOfResources(Unavailable):
    """This machine is short of disk space, memory or file descriptors."""


class LedgerGap(Unavailable):
    """The topic has readable records before the batch's first record.

    The batch is not committed, so that no record is skipped.
    """


class Interrupted(Unavailable):
    """A worker or the engine died or hangs. Its transaction is rolled back."""


class RestartRequired(Interrupted):
    """What the engine reads or writes has changed: new partitions, an accepted loss, records that are gone."""


class JvmExited(Interrupted):
    """Spark's JVM has exited. PySpark cannot start another one in this process."""


class Contention(OrderFlowError):
    """A deadlock or a lock timeout. A writer retries its transaction some times; then the engine is restarted."""


class StopRequested(OrderFlowError):
    """A stop was requested during a wait that may take long. Not a failure: the command ends."""


class OperatorError(OrderFlowError):
    """Waiting does not help: a person must change something."""


class SettingInvalid(OperatorError):
    """A setting has an invalid value."""


class ContractInvalid(OperatorError):
    """The contract file cannot be used, or not with these tables."""


class InputInvalid(OperatorError):
    """A file or an argument of a command cannot be used."""


class ExtraMissing(OperatorError):
    """An optional part of OrderFlow is not installed."""


class FileUnusable(OperatorError):
    """A file or folder that OrderFlow needs cannot be read or written."""


class KafkaRefused(OperatorError):
    """The broker refuses a request permanently."""


class DatabaseRefused(OperatorError):
    """The database server refuses a statement or a login permanently."""


class TransactionTooLarge(DatabaseRefused):
    """The server does not accept a transaction of this size. Smaller ones may succeed."""


class TableDrifted(OperatorError):
    """A table's definition differs from the one that OrderFlow expects."""


class SchemaTooNew(OperatorError):
    """A newer version of OrderFlow has created or changed the tables."""


class TopicMissing(OperatorError):
    """The topic does not exist, and neither OrderFlow nor the broker may create it."""


class TopicUnusable(OperatorError):
    """With this topic, a loss could go unnoticed: it is compacted, or the brokers give it no id."""


class TopicRecreated(OperatorError):
    """The topic was deleted and created again: its offsets and the ledger's refer to different records."""


class OffsetsLost(OperatorError):
    """Records that were never stored are no longer in the topic."""


class OffsetsReused(OperatorError):
    """Kafka lost records that are stored, and has other records at their offsets."""


class BatchDamaged(OperatorError):
    """A batch of the topic is damaged: it fails Kafka's checksum, or cannot be decoded. No client can read it."""


class TooManyQuarantined(OperatorError):
    """More of the last records were quarantined than QUARANTINE_MAX_SHARE allows."""


class EngineFailed(OperatorError):
    """The engine failed many times in a row without progress, for an unknown reason."""


class AlreadyRunning(OperatorError):
    """Another process uses the same folder, or did not stop when asked."""


class StartFailed(OperatorError):
    """A process did not become ready, or exited; or something that it needs could not be downloaded."""


_DISK_FULL = "Free some space there, or set TMPDIR to a folder with free space."
SHORTAGE_HINTS = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Raise the system's limit of open files (sysctl fs.file-max).",
    errno.EAGAIN: "Raise the limit of processes (ulimit -u).",
    errno.ENOMEM: "Free some memory, or raise the memory limit.",
    errno.ENOBUFS: "Free some memory, or raise the memory limit.",
}


@contextmanager
def translate_shortages(failure: str) -> Iterator[None]:
    """Translate errors about full disks, memory, descriptors or threads into OutOfResources.

    `failure` begins the message.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        raise OutOfResources(f"{failure}: {error}.", hint=SHORTAGE_HINTS[errno.EAGAIN]) from error
    except OSError as error:
        # EAGAIN also means that a socket has no data yet.
        if error.errno not in SHORTAGE_HINTS or error.errno == errno.EAGAIN:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise OutOfResources(f"{failure}: {error.strerror}{where}.", hint=SHORTAGE_HINTS[error.errno]) from error


def from_json(line: str) -> OrderFlowError:
    """Return the error from a line that `to_json` wrote.

    Raises ValueError if it is another line.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict) or "error" not in fields:
        raise ValueError("the line is not an error")
    return _rebuild(fields.pop("error"), fields)


def _rebuild(name: str, arguments: dict[str, str]) -> OrderFlowError:
    known = {cls.__name__: cls for cls in _tree(OrderFlowError)}
    if name not in known:
        raise ValueError(f"the error class {name} is unknown")
    return known[name](**arguments)


def _tree(cls: type[OrderFlowError]) -> list[type[OrderFlowError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in _tree(child))]
