"""Values of 100 MB; and as many of them that a file passes 2 GiB, if LONG is set."""

import base64
import hashlib
import os
import subprocess
import threading
import time

import duckdb
import msgpack
import pyarrow.parquet
import pytest

from lib.files import Files, Read
from lib.merge import BINARY, column, relation, start
from lib.pipeline import STAGES

MEGABYTES = int(os.environ.get("MEGABYTES", 100))
SIZE = MEGABYTES << 20
LIMIT = 8 * MEGABYTES  # MB; a bytea is twice as long in text


def peak(pid):
    """What the process has had of memory at most, in MB."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return next((int(line.split()[1]) >> 10 for line in f if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def watched(pipeline):
    """Runs it to its end: {stage: MB}."""
    pipeline.start(extra={"pgcdc-read": ["--once"]})
    peaks = dict.fromkeys(STAGES, 0)
    while pipeline.running():
        for stage in pipeline.running():
            peaks[stage] = max(peaks[stage], peak(pipeline.processes[stage].pid))
        time.sleep(0.02)
    assert set(pipeline.wait().values()) == {0}, pipeline.log()
    return peaks


@pytest.mark.deadline(300)
def test_values_of_a_hundred_megabytes_in_bounded_memory(database, tmp_path):
    """From PostgreSQL into files, by the snapshot and by the stream."""
    text, binary = (
        f"repeat('0123456789é\\漢', {SIZE // 16}) || id",
        f"decode(repeat('00ff5c27', {SIZE // 4}), 'hex') || '\\x01'",
    )
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, t text, b bytea)",
        f"INSERT INTO t SELECT id, {text}, NULL FROM generate_series(1, 1) id",
        f"INSERT INTO t SELECT id, NULL, {binary} FROM generate_series(2, 2) id",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    files = Files(str(tmp_path), database)
    for shift in (0, 10):
        peaks = watched(files.pipeline)
        print(f"MB at most: {peaks}")
        read = Read(files.new())
        one, two = sorted(zip(read.ids, read.columns["c2"], read.columns["c3"]))
        assert one[:1] + one[2:] == (1 + shift, None) and two[:2] == (2 + shift, None)
        assert one[1] == "0123456789é\\漢" * (SIZE // 16) + "1"
        assert two[2] == b"\0\xff\\'" * (SIZE // 4) + b"\1"
        assert max(peaks.values()) < LIMIT
        if not shift:
            database.execute("INSERT INTO t SELECT id + 10, t, b FROM t")


@pytest.mark.skipif("LONG" not in os.environ, reason="takes minutes: make check-long")
@pytest.mark.deadline(1200)
def test_a_file_of_more_than_two_gibibytes(tmp_path):
    """cdc-merge alone: rows of text that hardly becomes smaller, one after the other."""
    rows, path = 40, tmp_path / "file.parquet"
    columns = [column(1, "n", "integer", key=True), column(2, "t", "text")]
    texts = [base64.b64encode(os.urandom(SIZE // 4 * 3)).decode() for _ in range(2)]

    def frames():
        yield start()
        yield relation(1, "public", "t", columns)
        yield ["part", 1, 0]
        for i in range(rows):
            yield ["upsert", 1, 100, i + 1, 0, [str(i), texts[i % 2]], None]
        yield from (["part-end", 1, rows], ["batch", 1, 0, 100, 0], ["end", 100])

    def feed():
        for frame in frames():
            process.stdin.write(msgpack.packb(frame))
        process.stdin.close()

    process = subprocess.Popen(
        [BINARY, "--catalog", "c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    feeder = threading.Thread(target=feed)
    feeder.start()
    most = 0
    with open(path, "wb") as file:
        for frame in msgpack.Unpacker(process.stdout, max_buffer_size=0):
            if frame[0] == "data":
                file.write(frame[1])
            most = max(most, peak(process.pid))
    feeder.join()
    assert process.wait() == 0
    assert path.stat().st_size > 2 << 30
    print(f"MB at most: {most}")
    assert most < LIMIT
    about = pyarrow.parquet.ParquetFile(path).metadata
    assert (about.num_rows, about.num_row_groups) == (rows, rows)  # one is as much as one may have
    found = duckdb.sql(f"SELECT c1, length(c2), md5(c2) FROM '{path}' ORDER BY c1").fetchall()
    sums = [hashlib.md5(text.encode()).hexdigest() for text in texts]
    assert found == [(i, SIZE, sums[i % 2]) for i in range(rows)]
    file = pyarrow.parquet.ParquetFile(path)
    for i in range(0, rows, 13):
        [[n, text]] = zip(*file.read_row_group(i, ["c1", "c2"]).to_pydict().values())
        assert (n, text) == (i, texts[i % 2])
