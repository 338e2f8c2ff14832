"""The store on real servers: each record of a batch is stored exactly, counted as a duplicate, or quarantined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

import msgspec
import pytest

from orderflow.contract import exact_path
from orderflow.contract.definition import STANDARD_FIELDS, Order, Reason
from orderflow.errors import TooManyQuarantined
from orderflow.settings import Settings
from orderflow.store import schema
from orderflow.store.commit_result import CommitResult
from orderflow.store.writer import Writer
from tests.support.corpus import CASES, LONGEST, ORDER, SAMPLE, STORIES, TEXTS, Step, message, numbered, quoted
from tests.support.feeder import PRODUCED, TOPIC, Topic, batch_of, commit
from tests.support.sql import execute, select, select_all
from tests.support.tables import assert_consistent, contents, delete_rows


def test_the_sample_is_stored_exactly(store: Settings, load_data: bool) -> None:
    assert commit(store, batch_of([SAMPLE], 7, 2), Topic(first=7), load_data=load_data) == CommitResult(stored=1)
    assert select(store, "SELECT * FROM orders") == [ORDER.row()]
    coordinates = select(store, "SELECT kafka_partition, kafka_offset, produced_at, stored_at FROM orders")
    assert coordinates[0][:2] == (2, 7)
    assert coordinates[0][2].isoformat(timespec="milliseconds") == "2025-01-15T14:30:45.123"
    assert select(store, "SELECT ABS(TIMESTAMPDIFF(SECOND, stored_at, UTC_TIMESTAMP())) < 60 FROM orders") == [(1,)]
    assert_consistent(store)


def test_repeats_are_duplicates_and_changed_repeats_are_conflicts(
    store: Settings, load_data: bool, subtests: pytest.Subtests
) -> None:
    for story in STORIES:
        with subtests.test(story.name):
            delete_rows(store)
            outcomes: Counter[str] = Counter()
            offsets: Counter[int] = Counter()
            for batch in story.batches:
                with Writer(store, TOPIC) as writer:
                    writer.session.uses_load_data = load_data
                    for partition, steps in _by_partition(batch):
                        records = batch_of([step.value for step in steps], offsets[partition], partition)
                        committed = writer.commit(records._replace(keys=[step.key for step in steps]))
                        offsets[partition] += len(steps)
                        outcomes.update(
                            stored=committed.stored, duplicate=committed.duplicates, **committed.quarantined
                        )
            steps = [step for batch in story.batches for step in batch]
            assert +outcomes == Counter(step.outcome for step in steps)
            rows, kept = select_all(
                store, "SELECT * FROM orders", "SELECT record_key, record_value, reason FROM orders_quarantine"
            )
            firsts = [step for step in steps if step.outcome == "stored"]
            assert Counter(rows) == Counter(exact_path.decode(step.value).row() for step in firsts)
            assert Counter(kept) == Counter(
                (step.key, step.value, step.outcome) for step in steps if isinstance(step.outcome, Reason)
            )
            assert_consistent(store)


def _by_partition(batch: Iterable[Step]) -> list[tuple[int, list[Step]]]:
    steps: dict[int, list[Step]] = {}
    for step in batch:
        steps.setdefault(step.partition, []).append(step)
    return sorted(steps.items())


def test_the_whole_corpus_is_stored_in_one_batch(store: Settings, load_data: bool) -> None:
    cases = [case for case in CASES if len(case.value or b"") < 2_000_000]
    accepted = {
        number: msgspec.structs.replace(case.expected, order_id=f"ORDER-{number:06}")
        for number, case in enumerate(cases)
        if isinstance(case.expected, Order)
    }
    values = [_spelled(accepted[number]) if number in accepted else case.value for number, case in enumerate(cases)]
    committed = commit(store, batch_of(values), load_data=load_data)
    assert committed.stored == len(accepted) and committed.duplicates == 0
    assert committed.quarantined == Counter(case.expected for case in cases if isinstance(case.expected, Reason))
    assert select(store, "SELECT * FROM orders ORDER BY order_id") == [order.row() for order in accepted.values()]
    assert_consistent(store)


def test_each_text_is_stored_in_a_batch_of_its_own(store: Settings, load_data: bool) -> None:
    """LOAD DATA's file is escaped completely or not at all, so another text in the batch could hide a defect here."""
    with Writer(store, TOPIC) as writer:
        writer.session.uses_load_data = load_data
        for number, text in enumerate((TEXTS | LONGEST).values()):
            writer.commit(batch_of([numbered(number, product_name=quoted(text))], number))
    stored = select(store, "SELECT product_name FROM orders ORDER BY order_id")
    assert [name for (name,) in stored] == [*(TEXTS | LONGEST).values()]


def _spelled(order: Order) -> bytes:
    """Return a message that holds this order."""
    fields = {name: getattr(order, name) for name in STANDARD_FIELDS}
    return message(**{name: quoted(value) if isinstance(value, str) else str(value) for name, value in fields.items()})


def test_load_data_and_insert_write_the_same(store: Settings) -> None:
    by_insert = msgspec.structs.replace(store, mysql_table="by_insert")
    schema.prepare(by_insert)
    accepted = [case.expected for case in CASES if isinstance(case.expected, Order)]
    orders_sent = [
        msgspec.structs.replace(order, order_id=f"ORDER-{number:06}") for number, order in enumerate(accepted)
    ]
    assert len(orders_sent) > 100
    values = [_spelled(order) for order in orders_sent]
    values += [*values[:10], message(order_id='"ORDER-000000"', customer_id="4"), b"\xff"]
    batch = batch_of(values)._replace(timestamps=[PRODUCED, -1, 0, 2**62, *range(len(values) - 4)])
    assert commit(store, batch, load_data=True) == commit(by_insert, batch, load_data=False)
    assert contents(store) == contents(by_insert)
    stored = select(store, "SELECT HEX(product_name), HEX(product_category) FROM orders ORDER BY order_id")
    assert stored == [
        tuple(text.encode().hex().upper() for text in (order.product_name, order.product_category))
        for order in orders_sent
    ]


def test_the_quarantine_keeps_every_byte(store: Settings) -> None:
    all_bytes = bytes(range(256))
    values = [
        all_bytes,
        all_bytes[::-1],
        b"'\"\\\0\n\r\x1a%s",
        "🧘".encode(),
        b"\xed\xa0\x80",
        b" ",
        b"",
        None,
        b"x" * 3_000_000,
    ]
    batch = batch_of(values, key=all_bytes)
    batch = batch._replace(
        headers=[[("trace", all_bytes), ("none", None), ("é", b"")], *[[]] * 8],
        keys=[all_bytes, None, b"", *[all_bytes] * 6],
    )
    assert commit(store, batch).quarantined.total() == len(values)
    rows = select(store, "SELECT record_key, record_value, record_headers FROM orders_quarantine ORDER BY kafka_offset")
    assert [row[1] for row in rows] == values
    assert [row[0] for row in rows] == list(batch.keys)
    headers = msgspec.json.decode(rows[0][2], type=list[tuple[str, bytes | None]])
    assert headers == [("trace", all_bytes), ("none", None), ("é", b"")] and not any(row[2] for row in rows[1:])
    assert_consistent(store)


def test_no_rejection_stops_the_batch(store: Settings) -> None:
    """Each record has valid orders around it, because its own text ends up in the quarantine."""
    bad = [case.value for case in CASES if isinstance(case.expected, Reason) and len(case.value or b"") < 2_000_000]
    with Writer(store, TOPIC) as writer:
        for start in range(0, len(bad), 50):
            chunk = bad[start : start + 50]
            values = [numbered(start), *chunk, numbered(start + 1)]
            committed = writer.commit(batch_of(values, start + 2 * (start // 50)))
            assert (committed.stored, committed.quarantined.total()) == (2, len(chunk))
    assert_consistent(store)


def test_the_detail_of_a_conflict_is_harmless(store: Settings) -> None:
    hostile = "\x1b[2J\x07\u202e" + "🧘" * 240
    commit(store, batch_of([message(product_name=quoted(hostile)), SAMPLE]))
    [(detail, order_id)] = select(store, "SELECT detail, order_id FROM orders_quarantine")
    assert order_id == "ORDER-000001" and "product_name" in detail
    assert detail.isprintable() and detail.isascii(), "as the details of the decoder"


def test_unknown_fields_are_counted(store: Settings) -> None:
    committed = commit(store, batch_of([message(coupon="1", note="2"), numbered(2, coupon="1"), SAMPLE, numbered(3)]))
    assert committed == CommitResult(stored=3, duplicates=1, unknown_fields=Counter(coupon=2, note=1))
    assert select(store, "SELECT unknown_fields FROM orders_ledger") == [(3,)]


def test_enforced_ranges_quarantine_orders_outside_of_them(store: Settings) -> None:
    enforcing = msgspec.structs.replace(store, order_ranges="enforce")
    inside = numbered(2, unit_price="50.00", total_price="100.00")
    assert commit(enforcing, batch_of([SAMPLE, inside])).quarantined == {Reason.OUTSIDE_RANGES: 1}
    assert_consistent(store)


def test_the_rollup_equals_the_table_to_the_cent(store: Settings) -> None:
    rng = Random(4)
    categories = ["Toys", "toys", "Toys ", "Tóys", "🧸", "\t", "x" * 100]
    values = []
    for number in range(600):
        price, quantity = rng.randint(1, 99_999), rng.randint(1, 9)
        values.append(
            numbered(
                rng.randint(1, 400),
                product_category=quoted(rng.choice(categories)),
                unit_price=f"{price}e-2",
                quantity=str(quantity),
                total_price=f"{price * quantity}e-2",
                order_timestamp=f'"2025-01-15T14:{30 + number % 3}:{number % 60:02}"',
            )
        )
    for partition in range(3):
        for start in range(0, 200, 40):
            commit(store, batch_of(values[partition * 200 + start :][:40], start, partition))
            assert_consistent(store)
    assert select(store, "SELECT COUNT(*) FROM orders")[0][0] < 400


def test_the_writer_continues_by_insert_when_local_infile_is_switched_off(store: Settings) -> None:
    with Writer(store, TOPIC) as writer:
        assert writer.session.uses_load_data
        assert writer.commit(batch_of([numbered(1)])).stored == 1
        execute(store, "SET GLOBAL local_infile = OFF")
        try:
            assert writer.commit(batch_of([numbered(2), numbered(1), b"{"], 1)) == CommitResult(
                stored=1, duplicates=1, quarantined=Counter({Reason.MALFORMED_JSON: 1})
            )
            assert not writer.session.uses_load_data
            assert writer.commit(batch_of([numbered(3)], 4)).stored == 1
            with Writer(store, TOPIC) as new_writer:
                assert not new_writer.session.uses_load_data
                assert new_writer.commit(batch_of([numbered(4)], 5)).stored == 1
        finally:
            execute(store, "SET GLOBAL local_infile = ON")
    assert_consistent(store)


def test_a_batch_larger_than_one_statement_is_stored(store: Settings, load_data: bool) -> None:
    values = [numbered(n, order_timestamp=f'"2025-01-15T{n // 60 % 24:02}:{n % 60:02}:00"') for n in range(2500)]
    assert commit(store, batch_of(values), load_data=load_data).stored == 2500
    repeated = commit(store, batch_of([*values, *values[::-1]], 2500), load_data=load_data)
    assert repeated == CommitResult(duplicates=5000)
    assert_consistent(store)


def test_more_duplicates_than_counted_warnings_are_all_duplicates(store: Settings) -> None:
    values = [numbered(n) for n in range(70_000)]
    assert commit(store, batch_of(values)).stored == 70_000
    assert commit(store, batch_of(values, 70_000)) == CommitResult(duplicates=70_000)


def test_a_topic_of_garbage_stops_the_sink_before_it_fills_the_disk(store: Settings) -> None:
    with Writer(store, TOPIC) as writer:
        assert writer.commit(batch_of([b"garbage"] * 999)).quarantined.total() == 999
        with pytest.raises(
            TooManyQuarantined, match="1,000 of the last 1,000 records of topic orders were quarantined"
        ):
            writer.commit(batch_of([b"garbage"], 999))
    assert select(store, "SELECT next_offset, quarantined FROM orders_ledger") == [(1000, 1000)]
    tolerant = msgspec.structs.replace(store, quarantine_max_share=1.0)
    with Writer(tolerant, TOPIC) as writer:
        writer.commit(batch_of([b"garbage"] * 2000, 1000))
    assert_consistent(store)


def test_only_the_last_records_count_toward_the_limit_of_quarantined_ones(store: Settings) -> None:
    with Writer(store, TOPIC, window_records=2_000) as writer:
        writer.commit(batch_of([numbered(number) for number in range(1, 3_001)]))
        writer.commit(batch_of([b"garbage"] * 1_700, 3_000))
        with pytest.raises(TooManyQuarantined, match="1,850 of the last 2,000"):
            writer.commit(batch_of([b"garbage"] * 1_000, 4_700))
