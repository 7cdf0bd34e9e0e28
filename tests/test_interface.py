"""The command line that all programs have in common: help, version, bad options, broken input."""

import io
import os
import re
import shutil
import subprocess

import msgpack
import pytest

from lib.pipeline import BIN, ROOT, STAGES

FILTERS = STAGES[1:]
PAGES = ("stream", "state", "metrics")
ARGUMENTS = {"cdc-merge": ["--catalog", "workspace"]}


TARGET = [
    "target",
    {
        "catalog": "c", "namespace": "source", "permit": b"x",
        "staging": "/Volumes/c/pgcdc_internal/staging/test",
    },
]  # fmt: skip


def run(stage, *arguments, stdin=b"", **environment):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DATABRICKS")} | environment
    return subprocess.run(
        [os.path.join(BIN, stage), *arguments],
        input=stdin,
        capture_output=True,
        env=environment,
        timeout=30,
        check=False,
    )


def filter_run(stage, stdin, tmp_path):
    arguments = list(ARGUMENTS.get(stage, []))
    if stage == "dbx-load":
        arguments += ["--to-dir", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    return run(stage, *arguments, stdin=stdin)


def frames(*list_of_frames):
    return b"".join(msgpack.packb(frame) for frame in list_of_frames)


START = [
    "start", 1, "run-1", "test",
    {"system": "7", "database": "db", "slot": "s", "publications": {"p": 16400}},
]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_help_goes_to_stdout_and_names_every_option_of_the_man_page(stage):
    done = run(stage, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    with open(os.path.join(ROOT, stage, f"{stage}.1"), encoding="utf-8") as f:
        documented = set(re.findall(r"^\.It .*?Fl -([a-z][a-z-]*)", f.read(), re.M))
    shown = set(re.findall(r"--([a-z][a-z-]*)", done.stdout.decode()))
    assert documented and documented <= shown | {"verbose", "quiet", "help", "version"}
    assert shown <= documented, f"not in the man page: {shown - documented}"


@pytest.mark.parametrize("stage", STAGES)
def test_version(stage):
    done = run(stage, "--version")
    assert done.returncode == 0
    assert re.fullmatch(rf"{stage} \d+\.\d+\.\d+\n", done.stdout.decode())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("arguments", [["--no-such-option"], ["operand"], ["--state"]])
def test_bad_usage_exits_64_with_one_line(stage, arguments):
    done = run(stage, *arguments)
    assert done.returncode == 64
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1


def test_password_on_the_command_line_is_refused_and_not_repeated():
    for conninfo in ("dbname=x password=hunter2", "postgresql://u:hunter2@localhost/x"):
        done = run("pgcdc-read", "--slot", "s", "--publication", "p", "-d", conninfo)
        assert done.returncode == 64
        assert b"hunter2" not in done.stderr
        assert b"PGPASSWORD" in done.stderr


@pytest.mark.parametrize("stage", FILTERS)
def test_stream_without_end_is_75_with_one_line(stage, tmp_path):
    for cut in (frames(START), frames(START) + b"\x93\xa6insert", frames(START)[:-3]):
        done = filter_run(stage, cut, tmp_path)
        assert done.returncode == 75, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("stage", FILTERS)
@pytest.mark.parametrize(
    "garbage",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion elements
        b"\xc1",
        b"hello world",
        b"\x91" * 20,
        msgpack.packb([]),
        msgpack.packb([7]),
        msgpack.packb(["no-such-frame", 1]),
        msgpack.packb(["insert", 1, 2]),
        msgpack.packb(["relation", 1, 1, 5, {"columns": 3}]),
    ],
)
def test_bytes_that_are_no_stream_are_65_with_one_line(stage, garbage, tmp_path):
    done = filter_run(stage, frames(START) + garbage + frames(["end", 1]), tmp_path)
    assert done.returncode == 65, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(rb"offset=\d+", done.stderr)


@pytest.mark.parametrize("stage", FILTERS)
def test_failure_upstream_passes_through_silently_with_its_code(stage, tmp_path):
    done = filter_run(stage, frames(START, ["fail", 78]), tmp_path)
    assert (done.returncode, done.stderr) == (78, b"")
    if stage != "dbx-load":
        assert list(msgpack.Unpacker(io.BytesIO(done.stdout)))[-1] == ["fail", 78]


@pytest.mark.parametrize("stage", FILTERS)
def test_other_format_version_is_refused(stage, tmp_path):
    done = filter_run(stage, frames(["start", 2, *START[2:]]), tmp_path)
    assert done.returncode == 65
    assert b"version 2" in done.stderr


def test_damaged_state_is_refused(tmp_path):
    stage = "dbx-load"
    assert filter_run(stage, frames(START, TARGET, ["end", 1]), tmp_path).returncode == 0
    path = tmp_path / "state" / "load"
    path.write_text(path.read_text().replace("run", "ran"))
    done = filter_run(stage, frames(START, ["end", 1]), tmp_path)
    assert done.returncode == 65
    assert b"damaged" in done.stderr


def test_install_puts_programs_and_man_pages_in_place(tmp_path):
    subprocess.run(
        ["make", "-s", "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/x"], cwd=ROOT, check=True
    )
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {f"opt/x/bin/{s}" for s in STAGES} | {
        f"opt/x/share/man/man1/{s}.1" for s in STAGES
    } | {f"opt/x/share/man/man5/cdc-{name}.5" for name in PAGES}


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
@pytest.mark.parametrize(
    "page", [*(f"{s}/{s}.1" for s in STAGES), *(f"common/cdc-{name}.5" for name in PAGES)]
)
def test_man_page_is_clean(page):
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == ""
