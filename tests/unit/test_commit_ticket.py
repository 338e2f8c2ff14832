"""The states of a commit ticket, without threads: each test checks whether a wait would return at once."""

from __future__ import annotations

import gc
import weakref
from threading import Event
from unittest import mock

import pytest

from orderflow.store.commit_ticket import CommitTicket


@pytest.fixture(autouse=True)
def _waits_fail() -> object:
    """Make a wait raise if it would block, so that no test can hang."""

    def wait(event: Event, timeout: float | None = None) -> bool:
        if not event.is_set():
            raise BlockingIOError
        return True

    with mock.patch.object(Event, "wait", wait):
        yield


def test_the_only_ticket_is_the_first() -> None:
    ticket = CommitTicket()
    assert not ticket.wait_until_may_write()
    ticket.wait_for_predecessor_end()
    with pytest.raises(BlockingIOError):
        ticket.wait_for_end()
    with ticket:
        ticket.mark_ledger_locked()
    ticket.wait_for_end()


def test_the_second_writes_but_commits_only_after_the_first_has_ended() -> None:
    first = CommitTicket()
    second = CommitTicket(first)
    assert second.wait_until_may_write()
    with pytest.raises(BlockingIOError):
        second.wait_for_predecessor_end()
    with first:
        pass
    second.wait_for_predecessor_end()
    assert not second.wait_until_may_write()


def test_a_third_starts_when_the_first_has_ended() -> None:
    first = CommitTicket()
    second = CommitTicket(first)
    third = CommitTicket(second)
    with pytest.raises(BlockingIOError):
        third.wait_until_may_write()
    with first:
        pass
    assert third.wait_until_may_write()


def test_the_successor_waits_until_its_predecessor_has_locked_the_ledger() -> None:
    first = CommitTicket()
    second = CommitTicket(first)
    with pytest.raises(BlockingIOError):
        second.wait_for_predecessor_lock()
    first.mark_ledger_locked()
    second.wait_for_predecessor_lock()


def test_an_error_ends_a_ticket_and_its_wait_for_the_ledger() -> None:
    first = CommitTicket()
    second = CommitTicket(first)
    with pytest.raises(ZeroDivisionError), first:
        raise ZeroDivisionError
    second.wait_for_predecessor_lock()
    second.wait_for_predecessor_end()


def test_no_ticket_keeps_its_predecessors_alive() -> None:
    first = CommitTicket()
    last = CommitTicket(first)
    reference = weakref.ref(first)
    del first
    gc.collect()
    assert reference() is None
    with last:
        pass
