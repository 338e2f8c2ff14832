"""The tables on real servers: created if missing, adopted if a user created them, refused if they differ."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderflow.contract import definition
from orderflow.contract.definition import DEFAULT, Reason
from orderflow.embedded import debian as packages
from orderflow.embedded.database import Database
from orderflow.embedded.ports import free_port
from orderflow.errors import DatabaseRefused, TableDrifted
from orderflow.settings import Settings
from orderflow.store import ledger, schema, server
from orderflow.store.commit_result import CommitResult
from orderflow.store.connection import Connection
from orderflow.store.migrations import LATEST
from tests.support.corpus import ORDER, SAMPLE, message, numbered, quoted
from tests.support.feeder import batch_of, commit
from tests.support.servers import running
from tests.support.sql import execute, select, select_all
from tests.support.tables import assert_consistent

SEED = """
CREATE TABLE orders (
  customer_id INT{null},
  order_id VARCHAR(50) NOT NULL,
  product_name VARCHAR(255){null},
  product_category VARCHAR(100){null},
  unit_price DECIMAL(10,2){null},
  quantity INT{null},
  total_price DECIMAL(10,2){null},
  order_timestamp DATETIME{null},
  PRIMARY KEY (order_id),
  INDEX idx_customer (customer_id),
  INDEX idx_timestamp (order_timestamp)
)
"""
ROWS = """
INSERT INTO orders VALUES
  (1, 'ORDER-000101', 'Yoga Mat', 'Toys', 10.01, 1, 10.01, '2025-01-15 14:30:00'),
  (2, 'ORDER-000102', 'Yoga Mat', 'Toys', 10.02, 2, 20.04, '2025-01-15 14:30:59'),
  (3, 'ORDER-000103', 'Yoga Mat', 'toys', 10.03, 3, 30.09, '2025-01-15 14:30:59'),
  (4, 'ORDER-000104', 'Yoga Mat', 'Toys ', 10.04, 4, 40.16, '2025-01-15 14:30:59'),
  (5, 'ORDER-000105', 'Yoga Mat', 'Tóys', 10.05, 5, 50.25, '2025-01-15 14:31:00')
"""


@pytest.fixture
def seed(database: Settings) -> Settings:
    """Create a database with the table that users of the original system created by hand."""
    with Connection(database, database=False) as connection:
        connection.execute("create_database")
    execute(database, SEED.format(null=" NOT NULL"))
    return database


def columns(settings: Settings, table: str) -> dict[str, str]:
    rows = select(
        settings,
        "SELECT column_name, column_type, extra FROM information_schema.columns WHERE table_schema = DATABASE()"
        f" AND table_name = '{table}' ORDER BY ordinal_position",
    )
    return {name: f"{kind} {extra}".strip().lower() for name, kind, extra in rows}


def assert_usable(settings: Settings) -> None:
    """Check that nothing is missing, readers see only the contract's columns, and orders can be stored."""
    assert schema.missing_steps(settings) == schema.prepare(settings) == []
    types = columns(settings, "orders")
    assert {name.lower() for name, kind in types.items() if "invisible" not in kind} == {*definition.STANDARD_FIELDS}
    assert {name for name, kind in types.items() if "invisible" in kind} == {
        *("kafka_partition", "kafka_offset", "produced_at", "stored_at")
    }
    assert commit(settings, batch_of([SAMPLE, SAMPLE, message(customer_id="1")])) == CommitResult(
        stored=1, duplicates=1, quarantined=Counter({Reason.CONFLICT: 1})
    )
    assert select(settings, f"SELECT {', '.join(definition.STANDARD_FIELDS)} FROM orders") == [ORDER.row()]


def test_an_empty_server_gets_the_database_and_all_tables(database: Settings) -> None:
    planned = schema.missing_steps(database)
    assert [step.description for step in planned] == [
        f"database {database.mysql_database}",
        *(
            f"{kind} orders{suffix}"
            for kind, suffixes in (
                ("table", ("", "_ledger", "_quarantine", "_quarantine_chunks", "_losses", "_audits", "_by_minute")),
                ("view", ("_per_minute", "_per_day", "_per_reason")),
                ("table", ("_contracts", "_contract_starts", "_schema", "_adoption")),
            )
            for suffix in suffixes
        ),
        f"schema version {LATEST}",
    ]
    assert schema.prepare(database) == planned
    assert_usable(database)
    assert_consistent(database)
    indexes = select(database, "SHOW INDEX FROM orders")
    assert {(row[2], row[4]) for row in indexes} == {
        ("PRIMARY", "order_id"),
        ("idx_customer", "customer_id"),
        ("idx_timestamp", "order_timestamp"),
    }


def test_the_tables_have_the_columns_of_the_contract(database: Settings) -> None:
    schema.prepare(database)
    created = select(database, "SHOW CREATE TABLE orders")[0][1]
    for name, kind in {field.name: field.sql_definition for field in DEFAULT.fields}.items():
        declared = re.search(rf"`{name}` (.*)", created)
        assert declared
        for word in kind.replace(" CHARACTER SET utf8mb4", "").split():
            assert word.lower() in declared[1].lower()


def test_missing_tables_are_created(database: Settings) -> None:
    schema.prepare(database)
    execute(database, "DROP VIEW orders_per_minute")
    execute(database, "DROP TABLE orders_ledger")
    assert [step.description for step in schema.prepare(database)] == ["table orders_ledger", "view orders_per_minute"]
    assert_usable(database)


def test_two_sets_of_tables_in_one_database_are_independent(database: Settings) -> None:
    other = msgspec.structs.replace(database, mysql_table="shop2_orders$")
    schema.prepare(database)
    schema.prepare(other)
    assert commit(other, batch_of([SAMPLE])).stored == 1
    assert select(database, "SELECT COUNT(*) FROM orders") == [(0,)]
    assert select(database, "SELECT SUM(orders) FROM `shop2_orders$_per_minute`") == [(1,)]


def test_the_printed_statements_have_the_same_effect(seed: Settings) -> None:
    execute(seed, ROWS)
    printed = [schema.statement_of(step, seed) for step in schema.missing_steps(seed)]
    for statement in printed:
        execute(seed, statement)
    assert_adopted(seed)


# A table created by hand.


def assert_adopted(settings: Settings) -> None:
    assert schema.missing_steps(settings) == []
    [counted] = select(settings, "SELECT orders, row_checksum > 0 FROM orders_adoption")
    assert counted == (5, 1)
    partitions, rollup, units = select_all(
        settings,
        "SELECT kafka_partition, COUNT(*) FROM orders GROUP BY 1",
        "SELECT minute, SUM(orders), SUM(units), SUM(revenue) FROM orders_per_minute GROUP BY 1 ORDER BY 1",
        "SELECT product_category, SUM(units) FROM orders_per_minute GROUP BY 1 ORDER BY 2",
    )
    assert partitions == [(-1, 5)]
    assert [row[1:] for row in rollup] == [(4, 10, Decimal("100.30")), (1, 5, Decimal("50.25"))]
    assert [(name.rstrip(), count) for name, count in units] == [("toys", 3), ("Tóys", 5), ("Toys", 7)]


def test_an_empty_table_is_adopted(seed: Settings) -> None:
    assert "adopt_orders" in [step.statement for step in schema.prepare(seed)]
    assert_usable(seed)
    assert_consistent(seed)


def test_a_table_with_rows_is_adopted(seed: Settings) -> None:
    execute(seed, ROWS)
    schema.prepare(seed)
    assert_adopted(seed)
    execute(seed, "INSERT INTO orders VALUES (6, 'ORDER-000106', 'by hand', 'later', 1, 1, 1, '2025-01-15 14:30:45')")
    assert select(seed, "SELECT kafka_partition FROM orders WHERE customer_id = 6") == [(None,)]
    repeat = {"product_category": '"Toys"', "quantity": "1", "unit_price": "10.01", "total_price": "10.01"}
    same = numbered(101, customer_id="1", order_timestamp='"2025-01-15T14:30:00"', **repeat)
    other = numbered(101, customer_id="2", order_timestamp='"2025-01-15T14:30:00"', **repeat)
    assert commit(seed, batch_of([same, other, SAMPLE])) == CommitResult(
        stored=1, duplicates=1, quarantined=Counter({Reason.CONFLICT: 1})
    )
    assert schema.prepare(seed) == []


def test_a_nullable_table_is_adopted(database: Settings) -> None:
    with Connection(database, database=False) as connection:
        connection.execute("create_database")
    execute(database, SEED.format(null=""))
    execute(database, ROWS)
    schema.prepare(database)
    assert_adopted(database)


@pytest.mark.parametrize("column", ["product_category", "quantity", "total_price", "order_timestamp"])
def test_null_in_a_column_of_the_rollup_is_refused_until_it_is_corrected(database: Settings, column: str) -> None:
    """Of one row among others of its minute and category: the rollup must not omit its amount."""
    with Connection(database, database=False) as connection:
        connection.execute("create_database")
    execute(database, SEED.format(null=""))
    execute(database, ROWS)
    [(value,)] = select(database, f"SELECT {column} FROM orders WHERE customer_id = 2")
    execute(database, f"UPDATE orders SET {column} = NULL WHERE customer_id = 2")
    for _ in range(2):
        with pytest.raises(TableDrifted, match=r"provenance of the rows in table orders failed: .* null") as refused:
            schema.prepare(database)
        assert refused.value.hint == "Rows of table orders have NULL in a column: correct or delete them."
    execute(database, f"UPDATE orders SET {column} = '{value}' WHERE customer_id = 2")
    schema.prepare(database)
    assert_adopted(database)


@pytest.mark.parametrize("steps_done", range(1, 15))
def test_an_interrupted_adoption_is_completed(seed: Settings, steps_done: int) -> None:
    """Each statement commits on its own, so the program may end after any of them."""
    execute(seed, ROWS)
    steps = schema.missing_steps(seed)
    assert steps_done < len(steps)
    for step in steps[:steps_done]:
        execute(seed, schema.statement_of(step, seed))
    schema.prepare(seed)
    assert_adopted(seed)
    execute(seed, "INSERT INTO orders VALUES (6, 'ORDER-000106', 'by hand', 'later', 1, 1, 1, '2025-01-15 14:30:45')")
    assert select(seed, "SELECT kafka_partition FROM orders WHERE customer_id = 6") == [(None,)]


def test_columns_in_another_order_and_other_collations_are_accepted(database: Settings) -> None:
    with Connection(database, database=False) as connection:
        connection.execute("create_database")
    execute(
        database,
        "CREATE TABLE orders (order_timestamp DATETIME, total_price DECIMAL(10,2), QUANTITY INT,"
        " unit_price DECIMAL(10,2), product_category VARCHAR(100), product_name VARCHAR(255), customer_id INT(11),"
        " Order_Id VARCHAR(50) PRIMARY KEY) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    )
    schema.prepare(database)
    assert_usable(database)
    values = [numbered(2, product_name='"🧘"'), numbered(2, product_name='"🎽"')]
    assert commit(database, batch_of(values, 3)) == CommitResult(stored=1, quarantined=Counter({Reason.CONFLICT: 1}))
    assert_consistent(database)


def test_ids_that_differ_in_case_need_a_case_sensitive_collation(seed: Settings) -> None:
    execute(seed, "ALTER TABLE orders MODIFY order_id VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    text = '[order_id]\npattern = "#[A-Za-z0-9]{3}"'
    mixed = msgspec.structs.replace(seed, order_contract="contract.toml", order_contract_text=text)
    with pytest.raises(TableDrifted, match="order_id has the collation utf8mb4_general_ci, which treats") as drifted:
        schema.prepare(mixed)
    execute(seed, drifted.value.hint.removeprefix("Fix it with: ").split(";")[0])
    schema.prepare(mixed)
    values = [message(order_id='"#aB1"'), message(order_id='"#AB1"'), message(order_id='"#aB1"')]
    assert commit(mixed, batch_of(values)) == CommitResult(stored=2, duplicates=1)
    assert_consistent(mixed)


# Tables that differ.

DRIFTS = [
    "DROP COLUMN product_category",
    "DROP COLUMN product_category, DROP COLUMN quantity",
    "ADD COLUMN note TEXT",
    "ADD COLUMN note INT NOT NULL FIRST",
    "ADD COLUMN note INT UNIQUE",
    "ADD COLUMN `an odd ``name` INT",
    "RENAME COLUMN quantity TO amount",
    "MODIFY customer_id BIGINT NOT NULL",
    "MODIFY customer_id SMALLINT NOT NULL",
    "MODIFY customer_id INT UNSIGNED NOT NULL",
    "MODIFY customer_id INT(10) ZEROFILL NOT NULL",
    "MODIFY customer_id VARCHAR(20) NOT NULL",
    "MODIFY order_id VARCHAR(40) NOT NULL",
    "MODIFY order_id VARCHAR(255) NOT NULL",
    "MODIFY order_id CHAR(50) NOT NULL",
    "MODIFY order_id VARBINARY(50) NOT NULL",
    "MODIFY product_name VARCHAR(100) NOT NULL",
    "MODIFY product_name VARCHAR(256) NOT NULL",
    "MODIFY product_name TEXT NOT NULL",
    "MODIFY product_name VARCHAR(255) CHARACTER SET latin1 NOT NULL",
    "MODIFY product_category VARCHAR(100) CHARACTER SET utf8mb3 NOT NULL",
    "MODIFY unit_price DOUBLE NOT NULL",
    "MODIFY unit_price FLOAT(10,2) NOT NULL",
    "MODIFY unit_price DECIMAL(12,4) NOT NULL",
    "MODIFY unit_price DECIMAL(10,2) UNSIGNED NOT NULL",
    "MODIFY total_price DECIMAL(10,0) NOT NULL",
    "MODIFY total_price DECIMAL(10,2) GENERATED ALWAYS AS (unit_price * quantity) STORED",
    "MODIFY order_timestamp TIMESTAMP NOT NULL",
    "MODIFY order_timestamp DATETIME(6) NOT NULL",
    "MODIFY order_timestamp DATE NOT NULL",
    "MODIFY order_timestamp VARCHAR(19) NOT NULL",
    "DROP PRIMARY KEY",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (customer_id)",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (order_id, customer_id)",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (order_id(12))",
    "DROP PRIMARY KEY, ADD COLUMN id INT NOT NULL AUTO_INCREMENT PRIMARY KEY",
    "DROP PRIMARY KEY, ADD UNIQUE KEY (order_id)",
    "ADD UNIQUE KEY one_per_customer (customer_id)",
    "ADD UNIQUE KEY `an odd ``key` (customer_id, product_name(10))",
    "ENGINE = MyISAM",
    "ENGINE = MEMORY",
]
CUSTOM_DRIFTS = [
    "DROP COLUMN kafka_offset",
    "DROP COLUMN kafka_partition, DROP COLUMN stored_at",
    "MODIFY kafka_partition TINYINT NULL INVISIBLE",
    "MODIFY kafka_offset INT NULL INVISIBLE",
    "MODIFY produced_at DATETIME NULL INVISIBLE",
    "MODIFY stored_at DATETIME NULL INVISIBLE",
]


def assert_refused_and_fixed(settings: Settings) -> None:
    for check in (schema.missing_steps, schema.prepare):
        with pytest.raises(TableDrifted, match=r"orders\b") as drifted:
            check(settings)
    statements = re.fullmatch(r"Fix it with: (.*;) Or name another table in MYSQL_TABLE\..*", drifted.value.hint)
    assert statements, drifted.value.hint
    for statement in statements[1].rstrip(";").split("; "):
        execute(settings, statement)
    schema.prepare(settings)
    assert_usable(settings)


@pytest.mark.parametrize("drift", DRIFTS)
def test_the_hint_fixes_a_handmade_table_that_is_refused(seed: Settings, drift: str) -> None:
    execute(seed, f"ALTER TABLE orders {drift}")
    assert_refused_and_fixed(seed)


@pytest.mark.parametrize("drift", CUSTOM_DRIFTS)
def test_the_hint_fixes_an_orderflow_table_that_is_refused(database: Settings, drift: str) -> None:
    schema.prepare(database)
    execute(database, f"ALTER TABLE orders {drift}")
    assert_refused_and_fixed(database)


def test_several_differences_are_reported_at_once(seed: Settings) -> None:
    execute(seed, "ALTER TABLE orders DROP COLUMN quantity, ADD COLUMN note TEXT, MODIFY unit_price DOUBLE NOT NULL")
    with pytest.raises(TableDrifted) as drifted:
        schema.prepare(seed)
    for difference in ("quantity is missing", "note is unknown", "unit_price is double, not decimal(10,2)"):
        assert difference in drifted.value.message
    assert_refused_and_fixed(seed)


def test_a_view_with_the_name_of_the_table_is_refused(seed: Settings) -> None:
    execute(seed, "RENAME TABLE orders TO real_orders")
    execute(seed, "CREATE VIEW orders AS SELECT * FROM real_orders")
    with pytest.raises(TableDrifted, match=r"orders\b.* view") as drifted:
        schema.prepare(seed)
    assert "MYSQL_TABLE" in drifted.value.hint
    assert "ALTER TABLE" not in drifted.value.hint  # no statement turns a view into a table


@pytest.mark.parametrize(
    "table",
    [
        *("orders_ledger", "orders_quarantine", "orders_quarantine_chunks"),
        *("orders_losses", "orders_audits", "orders_by_minute", "orders_schema", "orders_adoption"),
    ],
)
def test_a_foreign_table_with_a_name_of_orderflow_is_refused(database: Settings, table: str) -> None:
    schema.prepare(database)
    execute(database, f"DROP TABLE {table}")
    execute(database, f"CREATE TABLE {table} (id INT PRIMARY KEY)")
    with pytest.raises(TableDrifted, match=rf"{table} lacks the columns .*\.") as drifted:
        schema.prepare(database)
    assert drifted.value.hint
    assert select(database, f"SELECT * FROM {table}") == []


# Changes of the other tables. The ledger matters most, because "exactly once" depends on it.
COMPANION_DRIFTS = [
    ("orders_ledger", "ENGINE = MyISAM", "engine is MyISAM"),
    ("orders_quarantine", "ENGINE = MyISAM", "engine is MyISAM"),
    ("orders_quarantine_chunks", "ENGINE = MyISAM", "engine is MyISAM"),
    ("orders_losses", "ENGINE = MyISAM", "engine is MyISAM"),
    ("orders_audits", "ENGINE = MyISAM", "engine is MyISAM"),
    ("orders_by_minute", "ENGINE = MEMORY", "engine is MEMORY"),
    ("orders_schema", "ENGINE = MyISAM", "engine is MyISAM"),
    ("orders_ledger", "MODIFY next_offset INT NOT NULL", "next_offset is int, not bigint"),
    ("orders_ledger", "MODIFY next_offset BIGINT UNSIGNED NOT NULL", "bigint unsigned"),
    ("orders_ledger", "MODIFY `stored` BIGINT NULL", "stored may be NULL"),
    ("orders_ledger", "MODIFY updated_at DATETIME NOT NULL", "updated_at is datetime, not datetime(6)"),
    (
        "orders_ledger",
        "MODIFY topic VARCHAR(249) CHARACTER SET ascii NOT NULL",
        "topic has the collation ascii_general_ci",
    ),
    ("orders_ledger", "DROP PRIMARY KEY", "primary key is missing"),
    ("orders_ledger", "DROP PRIMARY KEY, ADD PRIMARY KEY (topic, kafka_partition, topic_id)", "primary key is topic,"),
    ("orders_ledger", "ADD UNIQUE KEY one_each (topic)", "unexpected unique key one_each on topic"),
    ("orders_ledger", "ADD COLUMN note INT NOT NULL", "note is unknown"),
    ("orders_quarantine", "MODIFY record_value BLOB NULL", "record_value is blob, not longblob"),
    ("orders_quarantine", "MODIFY detail TEXT CHARACTER SET latin1 NOT NULL", "detail is text latin1"),
    ("orders_quarantine", "MODIFY status ENUM('open', 'replayed') NOT NULL", "status is enum('open','replayed')"),
    ("orders_quarantine", "DROP INDEX idx_coordinates", "no unique key on topic_id,kafka_partition,kafka_offset"),
    ("orders_quarantine", "MODIFY quarantine_id BIGINT NOT NULL", "quarantine_id is not AUTO_INCREMENT"),
    ("orders_by_minute", "MODIFY revenue DECIMAL(10,2) NOT NULL", "revenue is decimal(10,2), not decimal(30,2)"),
    ("orders_by_minute", "DROP PRIMARY KEY, ADD PRIMARY KEY (minute)", "primary key is minute, not"),
]


@pytest.mark.parametrize(("table", "drift", "difference"), COMPANION_DRIFTS)
def test_the_hint_fixes_another_table_that_is_refused(
    database: Settings, table: str, drift: str, difference: str
) -> None:
    schema.prepare(database)
    execute(database, f"ALTER TABLE {table} {drift}")
    with pytest.raises(
        TableDrifted, match=rf"{table} differs from the table that OrderFlow creates: .*{re.escape(difference)}"
    ) as drifted:
        schema.prepare(database)
    statement = re.fullmatch(r"Fix it with: (ALTER TABLE .*);", drifted.value.hint)
    assert statement
    execute(database, statement[1])
    assert_usable(database)


def test_harmless_columns_are_accepted(database: Settings) -> None:
    schema.prepare(database)
    execute(
        database, "ALTER TABLE orders_quarantine ADD COLUMN ticket VARCHAR(20), ADD COLUMN seen INT DEFAULT 0 NOT NULL"
    )
    assert_usable(database)


def test_a_view_is_checked_too(database: Settings) -> None:
    schema.prepare(database)
    execute(database, "CREATE OR REPLACE VIEW orders_per_day AS SELECT DATE(minute) AS day FROM orders_by_minute")
    with pytest.raises(TableDrifted, match="per_day has the columns day; expected: day, product_category") as drifted:
        schema.prepare(database)
    execute(database, drifted.value.hint.split(": ")[1].rstrip(";"))
    assert [step.statement for step in schema.prepare(database)] == ["create_per_day"]
    execute(database, "DROP VIEW orders_per_day")
    execute(database, "CREATE TABLE orders_per_day (day DATE)")
    with pytest.raises(TableDrifted, match="orders_per_day is a table, not a view"):
        schema.prepare(database)
    execute(database, "DROP TABLE orders_per_day")
    execute(database, "RENAME TABLE orders_losses TO losses")
    execute(database, "CREATE VIEW orders_losses AS SELECT * FROM losses")
    with pytest.raises(TableDrifted, match="orders_losses is a view, not a table"):
        schema.prepare(database)


def test_several_tables_are_reported_at_once(database: Settings) -> None:
    schema.prepare(database)
    for table in ("orders_ledger", "orders_losses"):
        execute(database, f"ALTER TABLE {table} ENGINE = MyISAM")
    with pytest.raises(TableDrifted, match=r"orders_ledger differs .*orders_losses differs") as drifted:
        schema.prepare(database)
    for statement in re.findall(r"ALTER TABLE [^;]*", drifted.value.hint):
        execute(database, statement)
    assert_usable(database)


# Servers that do not preserve the case of names.


class _FoldingDatabase(Database):
    """A server that accepts names in any case and stores them in lower case (as on Windows and many RDS servers)."""

    def _script(self) -> str:
        fold = "--lower-case-table-names=1"
        script = super()._script().replace(" --datadir=", f" {fold} --datadir=")
        if self.program.kind == "mysql":
            return script
        return script.replace(f"{fold} --datadir=./data.new", "--datadir=./data.new")  # a script, not the server


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_names_are_compared_as_the_server_compares_them(kind: Any, server_folder: Path, tmp_path: Path) -> None:
    if kind == "mysql" and not (packages.available() or shutil.which("mysqld") or os.environ.get("CI")):
        pytest.skip("no genuine MySQL")
    folding = _FoldingDatabase(server_folder / tmp_path.name, free_port(), kind)
    settings = Settings(
        mysql_host="127.0.0.1", mysql_port=folding.port, mysql_password=folding.password,
        mysql_database="Shop", mysql_table="Orders",
    )  # fmt: skip
    with running(folding):
        assert len(schema.prepare(settings)) == len(schema.all_steps(settings))
        assert schema.missing_steps(settings) == schema.prepare(settings) == []
        assert commit(settings, batch_of([SAMPLE])).stored == 1
        assert server.missing_indexes(settings) == []
        assert list(server.refused_statements(settings)) == []
        spelled = msgspec.structs.replace(settings, mysql_database="shop", mysql_table="ORDERS")
        with Connection(settings) as first, Connection(spelled) as second:
            assert ledger.take_leadership(first, settings, 0)
            assert not ledger.take_leadership(second, spelled, 0)
        execute(settings, "ALTER TABLE orders_ledger ENGINE = MyISAM")
        with pytest.raises(TableDrifted, match=r"Shop\.Orders_ledger .*MyISAM"):
            schema.prepare(settings)
        by_hand = msgspec.structs.replace(settings, mysql_table="ByHand")
        execute(by_hand, SEED.format(null=" NOT NULL").replace("TABLE orders", "TABLE ByHand"))
        execute(by_hand, ROWS.replace("INTO orders", "INTO byhand"))
        assert "adopt_orders" in [step.statement for step in schema.prepare(by_hand)]
        assert schema.missing_steps(by_hand) == []
        assert commit(by_hand, batch_of([SAMPLE])).stored == 1


def test_a_table_name_in_another_case_is_another_table_if_case_matters(database: Settings) -> None:
    schema.prepare(database)
    if select(database, "SELECT @@lower_case_table_names")[0][0]:
        pytest.skip("not on this server")
    other = msgspec.structs.replace(database, mysql_table="Orders")
    assert len(schema.prepare(other)) == len(schema.all_steps(other)) - 1  # the database exists
    assert commit(other, batch_of([SAMPLE])).stored == 1
    assert select(database, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_a_refused_table_is_not_changed(seed: Settings) -> None:
    execute(seed, ROWS)
    execute(seed, "ALTER TABLE orders ADD COLUMN note TEXT")
    before = select_all(seed, "SHOW CREATE TABLE orders", "SELECT * FROM orders", "SHOW TABLES")
    with pytest.raises(TableDrifted):
        schema.prepare(seed)
    assert select_all(seed, "SHOW CREATE TABLE orders", "SELECT * FROM orders", "SHOW TABLES") == before


def test_a_user_without_privileges_gets_a_hint(seed: Settings) -> None:
    user = f"reader_{seed.mysql_database[-12:]}"
    execute(seed, f"CREATE USER {user}@'%' IDENTIFIED BY 'secret'")
    try:
        execute(seed, f"GRANT SELECT ON {seed.mysql_database}.* TO {user}@'%'")
        reader = msgspec.structs.replace(seed, mysql_user=user, mysql_password="secret")
        with pytest.raises(DatabaseRefused, match=r"orders_ledger is missing, and its statement failed") as refused:
            schema.prepare(reader)
        assert "orderflow init --dry-run" in refused.value.hint
        wrong = msgspec.structs.replace(reader, mysql_password="wrong")
        with pytest.raises(DatabaseRefused, match=f"refuses user {user}") as refused:
            schema.prepare(wrong)
        assert "wrong" not in refused.value.message and "MYSQL_PASSWORD" in refused.value.hint
    finally:
        execute(seed, f"DROP USER {user}@'%'")


def test_texts_are_exact_with_any_default_character_set(database: Settings) -> None:
    server_settings = msgspec.structs.replace(database, mysql_database="mysql")
    execute(server_settings, f"CREATE DATABASE {database.mysql_database} CHARACTER SET latin1")
    schema.prepare(database)
    assert_usable(database)
    text = "🧘" * 255
    assert commit(database, batch_of([b"{", b"{", b"{", numbered(5, product_name=quoted(text))])).stored == 1
    assert select(database, "SELECT product_name FROM orders WHERE order_id = 'ORDER-000005'") == [(text,)]
