"""Starting, stopping and starting again."""

import json
import os
import subprocess
import time

import pytest
from lib.warehouse import PROGRAM


def run(*arguments):
    return subprocess.run(
        [PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def processes(folder):
    """What runs and has the folder's name in its arguments: the server and its JVM."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                if str(folder).encode() in cmdline.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "warehouse"
    run("stop", "--dir", str(tmp_path / "warehouse"))


def test_tables_and_files_outlive_a_restart(folder):
    def sql(statement):
        done = run("sql", "--dir", str(folder), statement)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    started = run("start", "--dir", str(folder))
    assert started.returncode == 0, started.stderr
    assert {line.partition("=")[0] for line in started.stdout.splitlines()} == {
        "export DATABRICKS_HOST",
        "export DATABRICKS_TOKEN",
        "export DATABRICKS_WAREHOUSE_ID",
        "export DATABRICKS_HTTP_PATH",
    }
    assert oct((folder / "environment").stat().st_mode)[-3:] == "600"
    sql("CREATE SCHEMA workspace.Mine")
    sql("CREATE VOLUME workspace.mine.v")
    sql("CREATE TABLE workspace.mine.kept AS SELECT 1 AS id")
    sql("CREATE TABLE workspace.mine.dropped (id INT)")
    (folder / "Volumes/workspace/mine/v/file").write_text("x")

    second = run("start", "--dir", str(folder))
    assert second.returncode == 73
    assert "already served" in second.stderr
    assert len(processes(folder)) == 2
    assert run("stop", "--dir", str(folder)).returncode == 0
    assert processes(folder) == []
    assert run("stop", "--dir", str(folder)).returncode == 0

    assert run("start", "--dir", str(folder)).returncode == 0
    assert sql("SELECT * FROM workspace.mine.kept") == [["1"]]
    sql("DROP TABLE workspace.mine.dropped")
    sql("CREATE TABLE workspace.mine.dropped (other STRING)")
    assert sql("SHOW VOLUMES IN workspace.mine") == [["mine", "v"]]
    failed = run("sql", "--dir", str(folder), "SELECT * FROM workspace.mine.nothing")
    assert failed.returncode == 1
    assert "TABLE_OR_VIEW_NOT_FOUND" in failed.stderr
    assert run("stop", "--dir", str(folder)).returncode == 0
    assert processes(folder) == []


@pytest.mark.parametrize("wait", [0.3, 2.5])
def test_a_killed_start_leaves_nothing(folder, wait):
    start = subprocess.Popen(
        [PROGRAM, "start", "--dir", str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    time.sleep(wait)
    start.kill()
    start.communicate()
    deadline = time.monotonic() + 15
    while processes(folder):
        assert time.monotonic() < deadline, "something still runs"
        time.sleep(0.1)
