"""DDL in the middle of a stream of changes, PostgreSQL to Delta: a story per kind, and a test for it.

All stories are told in one run of the pipeline. Each has a schema of its own, and its kind of DDL
comes in five situations, the rounds:

  together  everything in one transaction, rows between
  batch     a transaction for each statement, so many at a time that they are in one batch
  behind    the same while the pipeline stands still: the reader finds all of it in the catalog
  quiet     DDL, and no row of the table after it: has to arrive by itself
  once      the same while the pipeline stands still, and then a run with --once

What PostgreSQL rewrites is read again; of all else nothing is, and no story disturbs another.
"""

import collections
import re
import time
from typing import NamedTuple

import pytest

from lib.compare import Difference
from lib.replication import Replication

ROUNDS = ("together", "batch", "behind", "quiet", "once")
QUIET = 180  # seconds until all tables that nobody writes to are changed, on a busy machine
STORIES = {}  # name: Story


class Story(NamedTuple):
    before: list  # statements
    rounds: dict  # of statements
    tables: list  # to be compared; None: all of the schema
    kept: list  # columns that the source has no more, and the target has


def story(name, before, tables=None, kept=(), **rounds):
    assert rounds.keys() <= set(ROUNDS)
    STORIES[name] = Story(before, rounds, tables, kept)


# ---------------------------------------------------------------- columns that come

story(
    "added",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)",
    ],
    together=[
        "ALTER TABLE t ADD a int",
        "INSERT INTO t VALUES (4, 'four', 4)",
        "ALTER TABLE t ADD b text DEFAULT 'old'",
        "UPDATE t SET v = 'changed' WHERE id = 1",
        "INSERT INTO t VALUES (5, 'five', 5, NULL)",
    ],
    batch=[
        "ALTER TABLE t ADD c numeric(10,2) DEFAULT 1.50, ADD d date DEFAULT 'infinity',"
        " ADD e timestamptz DEFAULT '2026-11-22 12:00:00.123456+01', ADD f int[] DEFAULT '{1,NULL}',"
        " ADD g bytea DEFAULT '\\x00ff', ADD h boolean DEFAULT true,"
        " ADD i text DEFAULT E'tab\\t nl\\n \\\\N ''q'' ${x} `b`'",
        "INSERT INTO t (id, c, d) VALUES (6, 2, NULL)",
        "UPDATE t SET d = '2026-01-01' WHERE id = 2",
        'ALTER TABLE t ADD j jsonb DEFAULT \'{"a": [1, null]}\', ADD "Two Words, ä" real DEFAULT 0.1',
        "INSERT INTO t (id) VALUES (7)",
        "UPDATE t SET id = 30 WHERE id = 3",
    ],
    behind=[
        "ALTER TABLE t ADD k float8 DEFAULT 'NaN'",
        "INSERT INTO t (id) VALUES (8)",
        "ALTER TABLE t ADD l timestamp DEFAULT '-infinity'",
        "UPDATE t SET v = 'again' WHERE id = 1",
        "ALTER TABLE t ADD m varchar(9) DEFAULT ''",
        "ALTER TABLE t ALTER m SET DEFAULT 'new'",
        "INSERT INTO t (id) VALUES (9)",
        "DELETE FROM t WHERE id = 4",
    ],
    quiet=["ALTER TABLE t ADD n uuid DEFAULT '12345678-1234-1234-1234-123456789abc', ADD o int"],
    once=["ALTER TABLE t ADD p interval DEFAULT '1 day 2 hours'", "ALTER TABLE t ADD q smallint[]"],
)


def test_a_column_is_added_and_old_rows_have_its_default(told):
    told.assert_story("added", reads=1)
    (row,) = told.rows(
        "SELECT a, b, c, d, _cdc_unrepresentable['d'], k, m FROM {}.added.t WHERE id = 1"
    )
    assert row == [None, "old", "1.50", None, "infinity", "NaN", ""]


story(
    "volatile",
    ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"],
    together=[
        "ALTER TABLE t ADD a uuid DEFAULT gen_random_uuid()",
        "INSERT INTO t VALUES (3, 'three')",
        "ALTER TABLE t ADD b float8 DEFAULT random()",
        "UPDATE t SET v = 'changed' WHERE id = 1",
    ],
    behind=[
        "ALTER TABLE t ADD c serial",
        "INSERT INTO t VALUES (4, 'four')",
        "ALTER TABLE t ADD d timestamptz DEFAULT clock_timestamp()",
        "DELETE FROM t WHERE id = 2",
    ],
)


def test_a_volatile_default_makes_the_table_be_read_again(told):
    told.assert_story("volatile", again=True)


story(
    "partitioned",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20)",
        "INSERT INTO t VALUES (1, 'one'), (11, 'eleven')",
    ],
    together=[
        "ALTER TABLE t ADD a text DEFAULT 'old'",
        "INSERT INTO t VALUES (2, 'two')",
        "ALTER TABLE t RENAME v TO w",
        "UPDATE t SET w = 'changed' WHERE id = 11",
    ],
    behind=[
        "ALTER TABLE t ADD b int DEFAULT 7",
        "INSERT INTO t VALUES (12, 'twelve', NULL, NULL)",
        "ALTER TABLE t DROP w",
        "INSERT INTO t VALUES (3)",
    ],
    tables=["t"],
    kept=["w"],
)


def test_a_column_with_a_default_is_added_to_a_root_of_partitions(told):
    told.assert_story("partitioned", reads=1)


# ---------------------------------------------------------------- tables without a key

story(
    "keyless",
    [
        "CREATE TABLE t (n int, v text)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t SELECT i % 3, E'tab\\t\\\\' FROM generate_series(1, 9) i",
        "INSERT INTO t VALUES (NULL, NULL), (NULL, NULL), (4, '')",
    ],
    together=[
        "ALTER TABLE t ADD a int",
        "INSERT INTO t VALUES (5, 'five', NULL), (5, 'five', 5)",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 1)",
        "ALTER TABLE t ADD b text DEFAULT E'x\\t\\\\N'",
        "UPDATE t SET v = 'changed' WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 0)",
        "INSERT INTO t VALUES (5, 'five', 5, E'x\\t\\\\N')",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 5)",
    ],
    behind=[
        "ALTER TABLE t ADD c date DEFAULT 'infinity'",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 1)",
        "ALTER TABLE t RENAME v TO w",
        "UPDATE t SET w = NULL WHERE w = ''",
        "ALTER TABLE t ADD d boolean DEFAULT false",
        "INSERT INTO t SELECT * FROM t WHERE n = 5",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n IS NULL)",
        "ALTER TABLE t RENAME n TO number",
        "UPDATE t SET d = true WHERE number = 2",
        "INSERT INTO t VALUES (4, NULL, NULL, NULL, NULL, NULL)",
    ],
    quiet=["ALTER TABLE t ADD e numeric DEFAULT 1.0", "ALTER TABLE t RENAME e TO f"],
)


def test_a_keyless_table_is_an_exact_multiset_when_columns_are_added_and_renamed(told):
    told.assert_story("keyless", reads=1)


story(
    "keyless_log",
    [
        "CREATE TABLE t (n int, v text)",
        "INSERT INTO t SELECT i % 3, 'v' FROM generate_series(1, 9) i",
    ],
    together=[
        "INSERT INTO t VALUES (1, 'v'), (1, 'v'), (NULL, NULL)",
        "ALTER TABLE t ADD a int",
        "INSERT INTO t VALUES (1, 'v', NULL), (1, 'v', 1), (1, 'v', 1)",
        "ALTER TABLE t ADD b date DEFAULT 'infinity'",
        "INSERT INTO t VALUES (1, 'v', 1, NULL), (1, 'v', 1, 'infinity')",
    ],
    behind=[
        "ALTER TABLE t ADD c text DEFAULT 'c'",
        "INSERT INTO t VALUES (1, 'v', 1, NULL, NULL), (1, 'v', 1, 'infinity', 'c')",
        "ALTER TABLE t RENAME v TO w",
        "INSERT INTO t VALUES (1, 'v', 1, NULL, NULL), (1, 'v', 1, 'infinity', 'c')",
    ],
    once=["TRUNCATE t", "INSERT INTO t VALUES (2, 'x'), (2, 'x')"],
)


def test_a_keyless_table_that_only_grows_is_an_exact_multiset(told):
    told.assert_story("keyless_log", reads=1)


story(
    "keyless_full",
    ["CREATE TABLE t (n int, v text)", "INSERT INTO t SELECT i % 3 FROM generate_series(1, 9) i"],
    together=[
        "INSERT INTO t VALUES (1, 'v'), (1, 'v')",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 1)",
    ],
    behind=[
        "UPDATE t SET v = 'w' WHERE ctid = (SELECT max(ctid) FROM t WHERE n = 1)",
        "ALTER TABLE t REPLICA IDENTITY DEFAULT",
        "INSERT INTO t VALUES (1, 'w')",
        "ALTER TABLE t ADD a int DEFAULT 1",
        "INSERT INTO t VALUES (1, 'w', 2)",
    ],
    once=[
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE v = 'w')",
    ],
)


def test_a_keyless_table_of_which_rows_go_since_then_is_read_again(told):
    told.assert_story("keyless_full", again=True)


story(
    "keyless_dropped",
    [
        "CREATE TABLE t (n int, v text)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t VALUES (1, 'a'), (1, 'b'), (2, 'c')",
    ],
    together=[
        "ALTER TABLE t DROP v",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 1)",
        "ALTER TABLE t ADD a text DEFAULT 'a'",
        "INSERT INTO t VALUES (1, 'a')",
    ],
    behind=[
        "INSERT INTO t VALUES (3, 'x')",
        "ALTER TABLE t DROP a",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 1)",
    ],
    kept=["v", "a", "n"],
)


def test_a_keyless_table_that_loses_a_column_is_read_again(told):
    told.assert_story("keyless_dropped", again=True)


# ---------------------------------------------------------------- columns that go

story(
    "dropped",
    [
        "CREATE TABLE t (id int PRIMARY KEY, a text, b int, c numeric(6,2), d text, e text, f text,"
        " g text, v text)",
        "INSERT INTO t SELECT i, 'a', 2, 3, 'd', 'e', 'f', 'g', 'v' FROM generate_series(1, 3) i",
    ],
    together=[
        "UPDATE t SET a = 'last' WHERE id = 1",
        "ALTER TABLE t DROP a",
        "INSERT INTO t VALUES (4, 4)",
        "ALTER TABLE t DROP b",
        "UPDATE t SET v = 'w' WHERE id = 2",
        "INSERT INTO t VALUES (5, 5)",
    ],
    behind=[
        "UPDATE t SET d = 'last', v = 'y' WHERE id = 1",
        "ALTER TABLE t DROP c, DROP d",
        "INSERT INTO t VALUES (7, 'e')",
        "ALTER TABLE t ADD y int DEFAULT 1",
        "ALTER TABLE t DROP e",
        "INSERT INTO t VALUES (8, 'f')",
    ],
    quiet=["ALTER TABLE t DROP f"],
    once=["ALTER TABLE t DROP g", "ALTER TABLE t DROP y"],
    kept=[*"abcdefgxy"],
)


def test_a_column_is_dropped_and_the_target_keeps_it(told):
    # behind: of columns with the same type, which ones went cannot be proven
    told.assert_story("dropped", reads=2)
    for column, id_, value in ("a", 1, "last"), ("b", 4, "4"), ("c", 5, "5.00"), ("f", 8, "f"):
        query = f"SELECT `{column}` FROM {{}}.dropped.t WHERE id = {id_}"
        assert told.rows(query) == [[value]], column


def test_a_column_is_dropped_and_the_target_drops_it(told):
    told.compare_story("dropped", into="drop_dropped")
    columns = [row[0] for row in told.rows("DESCRIBE {}.drop_dropped.t")]
    assert [name for name in columns if not name.startswith("_cdc_")] == ["id", "v"]


# ---------------------------------------------------------------- names

story(
    "renamed",
    [
        "CREATE TABLE t (id int PRIMARY KEY, a text, long text)",
        "ALTER TABLE t ALTER long SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT i, 'a', repeat(md5(i::text), 100) FROM generate_series(1, 4) i",
    ],
    together=[
        "UPDATE t SET a = 'before' WHERE id = 1",
        "ALTER TABLE t RENAME a TO b",
        "UPDATE t SET b = 'between' WHERE id = 2",
        "ALTER TABLE t RENAME b TO c",
        "INSERT INTO t VALUES (5, 'after')",
    ],
    behind=[
        "ALTER TABLE t RENAME c TO a",
        "ALTER TABLE t RENAME long TO longer",
        "UPDATE t SET a = 'behind' WHERE id = 2",
        "ALTER TABLE t RENAME a TO y",
        "ALTER TABLE t RENAME id TO key",
        "UPDATE t SET key = 6 WHERE key = 3",
    ],
    quiet=['ALTER TABLE t RENAME y TO "Größe, m`"'],
    once=['ALTER TABLE t RENAME key TO "KEY"', "ALTER TABLE t RENAME longer TO b"],
)


def test_a_column_is_renamed(told):
    told.assert_story("renamed", reads=1)


story(
    "swapped",
    [
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c int, d numeric(6,2))",
        "INSERT INTO t VALUES (1, 'a', 'b', 3, 4), (2, 'a', NULL, NULL, 4), (3, NULL, 'b', 3, NULL)",
    ],
    together=[
        "ALTER TABLE t RENAME a TO tmp",
        "ALTER TABLE t RENAME b TO a",
        "ALTER TABLE t RENAME tmp TO b",
        "UPDATE t SET a = 'is b' WHERE id = 1",
        "ALTER TABLE t RENAME a TO tmp",
        "ALTER TABLE t RENAME b TO a",
        "ALTER TABLE t RENAME c TO b",
        "ALTER TABLE t RENAME tmp TO c",
        "INSERT INTO t VALUES (4, 'a', 'is c', 5, 6)",
    ],
    behind=[
        "BEGIN; ALTER TABLE t RENAME b TO tmp; ALTER TABLE t RENAME d TO b;"
        " ALTER TABLE t RENAME tmp TO d; COMMIT",
        "INSERT INTO t (id, d, b) VALUES (5, 7, 8)",
        "INSERT INTO t (id, a, b) VALUES (6, 'a', 1)",
        "BEGIN; ALTER TABLE t RENAME a TO tmp; ALTER TABLE t RENAME c TO a;"
        " ALTER TABLE t RENAME tmp TO c; COMMIT",
        "INSERT INTO t (id, a, b) VALUES (7, 'a', 2)",
    ],
    quiet=[
        "BEGIN; ALTER TABLE t RENAME a TO tmp; ALTER TABLE t RENAME b TO a;"
        " ALTER TABLE t RENAME tmp TO b; COMMIT",
    ],
    once=[
        "BEGIN; ALTER TABLE t RENAME id TO tmp; ALTER TABLE t RENAME d TO id;"
        " ALTER TABLE t RENAME tmp TO d; COMMIT",
    ],
)


def test_columns_swap_their_names(told):
    told.assert_story("swapped", reads=1)


story(
    "renamed_misfits",
    [
        "CREATE TABLE t (id int PRIMARY KEY, a date, b date, c date[])",
        "INSERT INTO t VALUES (1, 'infinity', NULL, '{infinity}'), (2, '2026-01-01', '-infinity', NULL)",
    ],
    together=[
        "ALTER TABLE t RENAME a TO tmp",
        "ALTER TABLE t RENAME b TO a",
        "ALTER TABLE t RENAME tmp TO b",
        "INSERT INTO t VALUES (3, 'infinity', '-infinity')",
        "ALTER TABLE t RENAME c TO d",
        "INSERT INTO t VALUES (4, NULL, NULL, '{infinity,NULL}')",
    ],
)


def test_what_a_renamed_column_could_not_hold_stays_known_by_its_name(told):
    told.assert_story("renamed_misfits", reads=1)


story(
    "reused",
    [
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text)",
        "INSERT INTO t VALUES (1, 'a', 'b'), (2, 'a', NULL)",
    ],
    together=[
        "ALTER TABLE t DROP a",
        "ALTER TABLE t ADD a text",
        "INSERT INTO t VALUES (3, 'b', 'new a')",
        "ALTER TABLE t DROP a",
        "ALTER TABLE t RENAME b TO a",
        "UPDATE t SET a = 'was b' WHERE id = 1",
    ],
    behind=[
        "ALTER TABLE t ADD b int DEFAULT 5",
        "INSERT INTO t VALUES (6, 'a', 6)",
        "BEGIN; ALTER TABLE t DROP a; ALTER TABLE t RENAME b TO a; COMMIT",
        "INSERT INTO t VALUES (7, 7)",
        "ALTER TABLE t ADD b text DEFAULT 'b'",
        "UPDATE t SET a = 8 WHERE id = 1",
    ],
    quiet=["ALTER TABLE t DROP b", "ALTER TABLE t ADD b text DEFAULT 'again'"],
    kept=["b"],
)


def test_a_name_is_used_again_for_another_column(told):
    told.assert_story("reused")
    told.compare_story("reused", into="drop_reused")


# ---------------------------------------------------------------- types

story(
    "longer",
    [
        "CREATE TABLE t (id int PRIMARY KEY, n numeric(6,2), s varchar(3), at timestamp(3),"
        " m numeric(4,1), u varchar(4), w varchar(4))",
        "INSERT INTO t VALUES (1, 1.5, 'abc', '2026-01-01 00:00:00.123', 2.5, 'x', 'y')",
    ],
    together=[
        "ALTER TABLE t ALTER n TYPE numeric(8,2)",
        "INSERT INTO t VALUES (2, 999999.99)",
        "ALTER TABLE t ALTER s TYPE varchar(9)",
        "INSERT INTO t VALUES (3, NULL, 'abcdefghi')",
    ],
    behind=[
        "ALTER TABLE t ALTER s TYPE text, ALTER at TYPE timestamp",
        "INSERT INTO t VALUES (4, NULL, repeat('x', 20), '2026-01-01 00:00:00.123456')",
        "ALTER TABLE t ALTER m TYPE numeric(8,1)",
        "ALTER TABLE t ALTER m TYPE numeric(10,1), ALTER u TYPE text",
        "INSERT INTO t (id, m, u) VALUES (6, 123456789.8, 'longer')",
    ],
    quiet=[
        "ALTER TABLE t ALTER m TYPE numeric(12,1), ALTER w TYPE varchar(99), ALTER n TYPE numeric(38,2)"
    ],
)


def test_a_type_becomes_longer_and_nothing_is_read_again(told):
    told.assert_story("longer", reads=1)


story(
    "widened",
    [
        "CREATE TABLE t (id int PRIMARY KEY, small smallint, i int, r real, n numeric(6,2),"
        " m numeric(6,2))",
        "INSERT INTO t VALUES (1, 1, 1, 0.1, 1.5, 2.5), (2, 2, 2, NULL, NULL, NULL)",
    ],
    together=[
        "ALTER TABLE t ALTER i TYPE bigint",
        "INSERT INTO t VALUES (3, 3, 3000000000)",
        "ALTER TABLE t ALTER small TYPE int",
        "UPDATE t SET small = 100000 WHERE id = 1",
        "ALTER TABLE t ALTER small TYPE bigint, ALTER r TYPE float8",
        "INSERT INTO t VALUES (4, 3000000000, 5, 0.1)",
    ],
    behind=[
        "INSERT INTO t (id, n) VALUES (6, 1.25)",
        "ALTER TABLE t ALTER n TYPE numeric(10,4)",
        "INSERT INTO t (id, n) VALUES (7, 1.0001)",
        "ALTER TABLE t ALTER n TYPE numeric",
        "INSERT INTO t (id, n) VALUES (8, 1e50)",
    ],
    quiet=["ALTER TABLE t ALTER m TYPE numeric", "ALTER TABLE t ALTER id TYPE bigint"],
)


def test_a_type_is_widened(told):
    told.assert_story("widened", again=True)


story(
    "narrowed",
    [
        "CREATE TABLE t (id bigint PRIMARY KEY, n bigint, d numeric(12,3), s text, at timestamp)",
        "INSERT INTO t VALUES (1, 1, 1.234, 'a', '2026-01-01 00:00:00.6'), (2, NULL, 1.235, NULL, NULL)",
    ],
    together=[
        "ALTER TABLE t ALTER n TYPE int",
        "INSERT INTO t VALUES (3, 3)",
        "ALTER TABLE t ALTER d TYPE numeric(8,1)",
        "INSERT INTO t VALUES (4, 4, 0.25)",
    ],
    behind=[
        "INSERT INTO t (id, s) VALUES (5, 'longer')",
        "ALTER TABLE t ALTER s TYPE varchar(3) USING substr(s, 1, 3)",
        "INSERT INTO t (id, s) VALUES (6, 'abc')",
        "ALTER TABLE t ALTER at TYPE timestamp(0)",
        "UPDATE t SET n = 7 WHERE id = 2",
    ],
)


def test_a_type_is_narrowed(told):
    told.assert_story("narrowed", again=True)


story(
    "changed",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)",
        "INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2), (3, NULL, NULL)",
    ],
    together=[
        "ALTER TABLE t ALTER v TYPE text USING upper(v)",
        "INSERT INTO t VALUES (4, 'four', 4)",
        "ALTER TABLE t ALTER n TYPE text USING 'n' || n",
        "UPDATE t SET v = 'changed' WHERE id = 2",
        "INSERT INTO t VALUES (5, 'five', 'n5')",
        "ALTER TABLE t ALTER n TYPE int USING substr(n, 2)::int * 2",
        "INSERT INTO t VALUES (6, 'six', 6)",
    ],
    behind=[
        "ALTER TABLE t ALTER v TYPE int USING length(v)",
        "INSERT INTO t VALUES (7, 7)",
        "ALTER TABLE t ALTER v TYPE date USING date '2026-01-01' + v",
        "INSERT INTO t VALUES (8, '2026-12-31')",
    ],
    quiet=["ALTER TABLE t ALTER n TYPE int USING -n"],
)


def test_a_type_is_changed_with_using(told):
    told.assert_story("changed", again=True)


# ---------------------------------------------------------------- NULL, comments, what else there is

story(
    "not_null",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL, w text, x int)",
        "INSERT INTO t VALUES (1, 'v', 'w'), (2, 'v', 'w')",
    ],
    together=[
        "ALTER TABLE t ALTER v DROP NOT NULL",
        "INSERT INTO t VALUES (3, NULL, 'w')",
        "DELETE FROM t WHERE v IS NULL",
        "ALTER TABLE t ALTER v SET NOT NULL, ALTER w SET NOT NULL",
        "INSERT INTO t VALUES (4, 'v', '')",
    ],
    behind=[
        "COMMENT ON TABLE t IS 'a comment'",
        "COMMENT ON COLUMN t.v IS 'another'",
        "INSERT INTO t VALUES (5, 'v', 'w')",
        "ALTER TABLE t ALTER x SET DEFAULT 9, ALTER x SET STATISTICS 10, ADD CHECK (x > 0)",
        "CREATE INDEX ON t (v)",
        "INSERT INTO t VALUES (6, 'v', 'w')",
        "ALTER TABLE t ALTER w DROP NOT NULL",
        "INSERT INTO t VALUES (7, 'v', NULL)",
        "COMMENT ON TABLE t IS 'again'",
        "ALTER TABLE t ALTER v DROP NOT NULL",
        "UPDATE t SET v = NULL WHERE id = 1",
    ],
    quiet=[
        "UPDATE t SET v = ''",
        "ALTER TABLE t ALTER v SET NOT NULL",
        "COMMENT ON TABLE t IS NULL",
    ],
)


def test_not_null_and_comments_come_and_go(told):
    told.assert_story("not_null", reads=1)


story(
    "vacuumed",
    ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"],
    batch=[
        "ALTER TABLE t ADD a text DEFAULT 'old'",
        "VACUUM FULL t",
        "INSERT INTO t VALUES (3, 'three')",
        "ALTER TABLE t ADD b int DEFAULT 5",
        "CLUSTER t USING t_pkey",
        "INSERT INTO t VALUES (4, 'four')",
        "ALTER TABLE t ADD c text DEFAULT 'c'",
        "VACUUM FULL t",
        "INSERT INTO t VALUES (5, 'five')",
        "ALTER TABLE t RENAME c TO d",
    ],
)


def test_a_default_that_vacuum_full_has_put_into_the_rows(told):
    """PostgreSQL forgets it then."""
    told.assert_story("vacuumed")


# ---------------------------------------------------------------- keys and identities


def new_key(columns):
    return f"ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY ({columns})"


story(
    "key",
    [
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE, v text)",
        "INSERT INTO t SELECT i, 'c' || i, 'v' FROM generate_series(1, 6) i",
    ],
    together=[
        "UPDATE t SET v = 'before', code = 'C1' WHERE id = 1",
        new_key("code"),
        "UPDATE t SET v = 'changed' WHERE code = 'c2'",
        "UPDATE t SET code = 'C3' WHERE id = 3",
        "UPDATE t SET id = 40 WHERE code = 'c4'",
        new_key("id, code"),
        "DELETE FROM t WHERE id = 5",
        "UPDATE t SET id = 60 WHERE id = 6",
        "INSERT INTO t VALUES (7, 'c7')",
    ],
    behind=[
        new_key("id"),
        "UPDATE t SET code = code || '?' WHERE id < 3",
        new_key("code"),
        "UPDATE t SET id = 9 WHERE id = 7",
        "INSERT INTO t VALUES (10, 'c10')",
    ],
    quiet=[new_key("code, id")],
    once=[new_key("id"), "ALTER TABLE t RENAME id TO number"],
)


def test_the_primary_key_is_changed(told):
    told.assert_story("key", reads=1)


story(
    "key_added",
    [
        "CREATE TABLE t (id int, v text)",
        "CREATE TABLE u (id int, v text)",
        "CREATE TABLE w (id int, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)",
        "INSERT INTO u VALUES (1, 'one'), (2, 'two'), (3, NULL)",
        "INSERT INTO w VALUES (1, 'one'), (2, 'two'), (3, NULL)",
    ],
    together=[
        "INSERT INTO t VALUES (4, 'four')",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        "UPDATE t SET v = 'changed' WHERE id IN (1, 4)",
        "UPDATE t SET id = 20 WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
    ],
    behind=[
        "INSERT INTO u VALUES (4, 'four')",
        "ALTER TABLE u ADD PRIMARY KEY (id)",
        "UPDATE u SET v = 'changed' WHERE id IN (1, 4)",
        "DELETE FROM u WHERE id = 3",
    ],
    quiet=["ALTER TABLE w ADD PRIMARY KEY (id)"],
    once=["UPDATE w SET v = 'changed' WHERE id = 1"],
)


def test_a_keyless_table_is_given_a_primary_key(told):
    told.assert_story("key_added", reads=1)


story(
    "key_dropped",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)",
    ],
    together=[
        "UPDATE t SET v = 'before' WHERE id = 1",
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "INSERT INTO t VALUES (1, 'before'), (1, 'before')",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE id = 1)",
    ],
    behind=[
        "DELETE FROM t WHERE id = 1",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        "UPDATE t SET v = 'changed' WHERE id = 2",
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER id DROP NOT NULL",
        "INSERT INTO t VALUES (2, 'changed'), (2, 'changed'), (NULL, NULL)",
    ],
    once=["TRUNCATE t", "ALTER TABLE t ADD PRIMARY KEY (id)"],
)


def test_the_primary_key_is_dropped(told):
    told.assert_story("key_dropped", again=True)


def identity(how):
    return f"ALTER TABLE t REPLICA IDENTITY {how}"


story(
    "identity",
    [
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v text, long text)",
        "CREATE UNIQUE INDEX t_code ON t (code)",
        "ALTER TABLE t ALTER long SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT i, 'c' || i, 'v', repeat(md5(i::text), 100)"
        " FROM generate_series(1, 6) i",
    ],
    together=[
        "UPDATE t SET v = 'default' WHERE id = 1",
        identity("FULL"),
        "UPDATE t SET v = 'full', id = 20 WHERE id = 2",
        identity("USING INDEX t_code"),
        "UPDATE t SET v = 'index', code = 'C1' WHERE id = 1",
        "DELETE FROM t WHERE id = 6",
        "UPDATE t SET id = 30 WHERE id = 3",
        identity("DEFAULT"),
        "UPDATE t SET code = 'C4', id = 40 WHERE id = 4",
    ],
    behind=[
        identity("NOTHING"),
        "INSERT INTO t VALUES (7, 'c7', 'nothing')",
        identity("DEFAULT"),
        "UPDATE t SET v = 'again' WHERE id = 7",
        identity("USING INDEX t_code"),
        "UPDATE t SET id = 8 WHERE code = 'c7'",
        "DELETE FROM t WHERE id = 5",
    ],
)


def test_the_replica_identity_is_changed(told):
    told.assert_story("identity", reads=1)


# ---------------------------------------------------------------- tables

story(
    "table_renamed",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE fresh (id int PRIMARY KEY, v text)",
        "CREATE TABLE gone (id text PRIMARY KEY)",
        "CREATE TABLE next (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO fresh VALUES (1, 'fresh')",
        "INSERT INTO gone VALUES ('1')",
        "INSERT INTO next VALUES (1, 'next')",
    ],
    together=[
        "INSERT INTO t VALUES (3, 'three')",
        "ALTER TABLE t RENAME TO u",
        "UPDATE u SET v = 'changed' WHERE id = 1",
        "ALTER TABLE u RENAME TO w",
        "ALTER TABLE w ADD a int DEFAULT 5",
        "INSERT INTO w VALUES (4, 'four')",
    ],
    batch=[
        "BEGIN; ALTER TABLE w RENAME TO old; ALTER TABLE fresh RENAME TO w; COMMIT",
        "INSERT INTO w VALUES (2, 'was fresh')",
        "DROP TABLE gone",
        "ALTER TABLE next RENAME TO gone",
        "UPDATE gone SET v = 'in its place' WHERE id = 1",
        "UPDATE old SET v = 'was w' WHERE id = 2",
    ],
    behind=[
        "ALTER TABLE w RENAME TO x",
        "INSERT INTO x VALUES (3, 'x')",
        "ALTER TABLE old RENAME TO w",
        "DELETE FROM w WHERE id = 1",
        "ALTER TABLE x RENAME TO y",
        "ALTER TABLE y RENAME v TO z",
        "INSERT INTO y VALUES (4, 'y')",
    ],
    quiet=["ALTER TABLE y RENAME TO z"],
    once=["ALTER TABLE z RENAME TO z2"],
)


def test_a_table_is_renamed_and_its_copy_with_it(told):
    told.assert_story("table_renamed", reads=1)
    assert (
        sorted(told.rows("SHOW TABLES IN {}.table_renamed"), key=lambda row: row[1])[0][1] == "gone"
    )


# A new one is read as of now, while what was done under its name before is still to come.
story(
    "name_taken",
    ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"],
    behind=[
        "INSERT INTO t VALUES (3, 'three')",
        "ALTER TABLE t RENAME TO moved",
        "UPDATE moved SET v = 'moved' WHERE id = 1",
        "CREATE TABLE t (id int PRIMARY KEY, n int)",
        "INSERT INTO t VALUES (7, 70)",
    ],
    once=[
        "DELETE FROM moved WHERE id = 2",
        "DROP TABLE t",
        "ALTER TABLE moved RENAME TO t",
        "INSERT INTO t VALUES (4, 'back')",
        "CREATE TABLE moved (id int PRIMARY KEY, b boolean)",
        "INSERT INTO moved VALUES (8, true)",
    ],
)


def test_a_new_table_takes_the_name_of_one_that_is_renamed(told):
    told.assert_story("name_taken")
    read = {name: n for name, n in told.reads.items() if name.startswith("name_taken.")}
    assert read == {"name_taken.t": 2, "name_taken.moved": 1}


story(
    "table_moved",
    [
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
    ],
    together=["UPDATE t SET v = 'changed' WHERE id = 1"],
    batch=[
        "ALTER TABLE t SET SCHEMA elsewhere",
        "INSERT INTO elsewhere.t VALUES (5, 'five')",
        "ALTER TABLE elsewhere.t RENAME v TO x",
        "UPDATE elsewhere.t SET x = 'elsewhere' WHERE id = 2",
    ],
    behind=[
        "ALTER TABLE elsewhere.t RENAME TO y",
        "INSERT INTO elsewhere.y VALUES (6, 'six')",
        "ALTER TABLE elsewhere.y SET SCHEMA table_moved",
        "DELETE FROM y WHERE id = 1",
    ],
    quiet=["ALTER TABLE y RENAME TO z"],
)


def test_a_table_is_moved_to_another_schema(told):
    told.assert_story("table_moved")
    for left in "table_moved.t", "elsewhere.t":
        assert told.rows(f"SELECT count(*) > 0 FROM {{}}.{left}") == [["true"]], left


SHAPES = [
    "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "CREATE TABLE t (other text, id text PRIMARY KEY, v numeric(5,1) DEFAULT 1)",
    "CREATE TABLE t (v text)",
]

story(
    "anew",
    [SHAPES[0], "INSERT INTO t VALUES (1, 'one'), (2, 'two')"],
    together=[
        "INSERT INTO t VALUES (3, 'three')",
        "DROP TABLE t",
        SHAPES[1],
        "INSERT INTO t VALUES ('x', '1')",
        "DROP TABLE t",
        SHAPES[0],
        "INSERT INTO t VALUES (2, 'another two')",
    ],
    batch=[
        "INSERT INTO t VALUES (4, 'four')",
        "DROP TABLE t",
        SHAPES[1],
        "INSERT INTO t VALUES ('x', '1', 2.5)",
        "ALTER TABLE t ADD a int DEFAULT 5",
        "UPDATE t SET other = 'y'",
    ],
    behind=[
        "INSERT INTO t VALUES ('z', '2')",
        "DROP TABLE t",
        SHAPES[2],
        "INSERT INTO t VALUES ('never seen')",
        "DROP TABLE t",
        SHAPES[0],
        "INSERT INTO t VALUES (5, 'five')",
    ],
    quiet=["DROP TABLE t", SHAPES[2], "INSERT INTO t VALUES ('x'), ('x')"],
    once=["DROP TABLE t", SHAPES[0]],
    kept=["other", "a", "id"],
)


def test_a_table_is_dropped_and_created_anew(told):
    told.assert_story("anew", again=True)
    assert told.rows("SELECT count(*) FROM {}.anew.t") == [["0"]]


story(
    "gone",
    [
        "CREATE TABLE now (id int PRIMARY KEY, v text)",
        "CREATE TABLE later (id int PRIMARY KEY, v text)",
        "CREATE TABLE quietly (id int PRIMARY KEY)",
        "INSERT INTO now VALUES (1, 'one')",
        "INSERT INTO later VALUES (1, 'one')",
        "INSERT INTO quietly VALUES (1)",
    ],
    together=[
        "INSERT INTO now VALUES (2, 'two')",
        "ALTER TABLE now ADD a int DEFAULT 5",
        "INSERT INTO now VALUES (3, 'three')",
        "ALTER TABLE now DROP v",
        "INSERT INTO now VALUES (4, 4)",
        "DROP TABLE now",
    ],
    behind=[
        "INSERT INTO later VALUES (2, 'two')",
        "ALTER TABLE later RENAME v TO w",
        "ALTER TABLE later DROP w",
        "INSERT INTO later VALUES (3)",
        "ALTER TABLE later ADD a text DEFAULT 'a', ALTER id TYPE bigint",
        "INSERT INTO later VALUES (4)",
        "DROP TABLE later",
    ],
    quiet=["DROP TABLE quietly"],
)


def test_a_table_that_is_gone_stays_in_the_target_and_stops_nobody(told):
    for table in "now", "later", "quietly":
        assert told.rows(f"SELECT count(*) FROM {{}}.gone.{table} WHERE id = 1") == [["1"]], table


# ---------------------------------------------------------------- the target's side

story(
    "people",
    [
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    ],
    batch=[
        "ALTER TABLE t RENAME a TO b",
        "UPDATE t SET b = 'changed' WHERE id = 1",
        "ALTER TABLE t ADD c int DEFAULT 5",
        "DELETE FROM t WHERE id = 2",
    ],
    behind=["ALTER TABLE t ALTER id TYPE bigint", "INSERT INTO t VALUES (4, 'four')"],
    kept=["theirs"],
)
PEOPLE = [
    "ALTER TABLE {}.people.t ADD COLUMNS (theirs STRING COMMENT 'of our own')",
    "UPDATE {}.people.t SET theirs = concat('their ', a)",
    "COMMENT ON TABLE {}.people.t IS 'people read this'",
    "ALTER TABLE {}.people.t ALTER COLUMN a COMMENT 'what a is'",
    "ALTER TABLE {}.people.t SET TBLPROPERTIES ('team' = 'theirs')",
]


def test_what_people_have_added_to_the_target_stays(told):
    told.assert_story("people")
    assert told.rows("SELECT id, theirs FROM {}.people.t ORDER BY id") == [
        ["1", "their one"],
        ["3", "their three"],
        ["4", None],
    ]
    described = {row[0]: row[1:] for row in told.rows("DESCRIBE EXTENDED {}.people.t")}
    assert described["theirs"] == ["string", "of our own"]
    assert described["b"] == ["string", "what a is"]
    assert described["Comment"][0] == "people read this"
    assert "team=theirs" in described["Table Properties"][0]


story(
    "events",
    ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'one')"],
    together=[
        "INSERT INTO t VALUES (2, 'two')",
        "ALTER TABLE t ADD a int DEFAULT 5",
        "UPDATE t SET v = 'changed' WHERE id = 1",
        "ALTER TABLE t RENAME v TO w",
        "INSERT INTO t VALUES (3, 'three', 3)",
        "ALTER TABLE t DROP a",
        "DELETE FROM t WHERE id = 2",
    ],
)


def test_events_that_were_appended_stay_as_they_were(told):
    found = told.rows("SELECT _cdc_op, id, w, a FROM {}.events.t ORDER BY _cdc_lsn, _cdc_seq")
    assert found == [
        ["r", "1", "one", None],
        ["i", "2", "two", None],
        ["u", "1", "changed", "5"],
        ["i", "3", "three", "3"],
        ["d", "2", None, None],
    ]
    assert told.reads["events.t"] == 1


story(
    "other",
    ["CREATE TABLE t (id serial PRIMARY KEY, v text)", "INSERT INTO t (v) VALUES ('before')"],
    **{each: [f"INSERT INTO t (v) VALUES ('{each}')"] for each in ROUNDS},
)


def test_a_table_without_ddl_goes_on(told):
    told.assert_story("other", reads=1)


# ---------------------------------------------------------------- the run


class Told(Replication):
    """`reads`: how often each table was read; `said`: what the reader said; `late`: stories whose
    quiet DDL did not arrive."""

    def tell(self, part):
        for name, story_ in STORIES.items():
            statements = story_.rounds.get(part, [])
            if part == "together":
                statements = ["BEGIN", *statements, "COMMIT"]
            self.execute(f"SET search_path = {name}", *statements)

    def compare_story(self, name, into=None):
        found = self.execute(f"SELECT tablename FROM pg_tables WHERE schemaname = '{name}'")
        tables = STORIES[name].tables or [table for (table,) in found]
        self.assert_equal(
            *((name, table) for table in tables),
            schemas={name: into or name},
            extra=() if into else STORIES[name].kept,
        )

    def assert_story(self, name, reads=None, again=False):
        """The story's tables equal their copies; each was read so often, or more than once."""
        self.compare_story(name)
        assert name not in self.late
        found = {n: r for n, r in self.reads.items() if n.startswith(name + ".")}
        why = [line for line in self.said if f"table {name}." in line]
        assert reads is None or set(found.values()) == {reads}, (found, why)
        assert not again or max(found.values()) > 1, found

    def wait_quiet(self):
        self.late = [name for name, story_ in STORIES.items() if "quiet" in story_.rounds]
        end = time.monotonic() + QUIET
        while self.late and time.monotonic() < end:
            if self.is_equal(self.late[0]):
                self.late.pop(0)

    def is_equal(self, name):
        try:
            self.compare_story(name)
            return True
        except Difference:
            return False


def count_reads(pipeline):
    return collections.Counter(re.findall(r"table (\S+) read rows=", pipeline.log("pgcdc-read")))


@pytest.fixture(scope="module")
def told(cluster, warehouse, tmp_path_factory):
    """The source and its copy, when all stories have been told."""
    with Told(cluster, warehouse, tmp_path_factory.mktemp("schema"), "schema") as replication:
        for name, story_ in STORIES.items():
            replication.execute(
                f"CREATE SCHEMA {name}", f"SET search_path = {name}", *story_.before
            )
        replication.execute(
            "CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root)",
        )
        first = replication.pipeline(options={
            "pgcdc-read": ["-v"],
            "cdc-batch": ["--mode", "events.*=append", "--min-interval", "1s"],
        })  # fmt: skip
        second = replication.pipeline("drop", options={
            "pgcdc-read": ["-v", "--table", "dropped.t", "--table", "reused.t"],
            "cdc-merge": ["--namespace", "format:drop_${schema}", "--dropped-columns", "drop"],
        })  # fmt: skip
        pipelines = [first, second]
        for pipeline in pipelines:
            pipeline.start()
        replication.settle()
        replication.tell("together")
        replication.settle()
        for statement in PEOPLE:
            replication.warehouse.api.query(statement.format(f"`{replication.name}`"))
        replication.tell("batch")
        replication.settle()
        for pipeline in pipelines:
            pipeline.stop()
        replication.tell("behind")
        for pipeline in pipelines:
            pipeline.start()
        replication.settle()
        replication.tell("quiet")
        replication.wait_quiet()
        for pipeline in pipelines:
            pipeline.stop()
        replication.tell("once")
        for pipeline in pipelines:
            pipeline.once()
        replication.reads = count_reads(first)
        replication.said = first.log("pgcdc-read").splitlines()
        yield replication
