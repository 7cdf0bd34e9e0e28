"""Runs the four programs as one pipeline of separate processes, and restarts them like a supervisor.

Every stage is a process that can be killed alone; together they are one process group, so that a
terminal's Ctrl-C can be played as well. stderr of every stage goes to a file of its own.
"""

import atexit
import os
import signal
import subprocess
import time

from lib import state

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("PGCDC_BIN", os.path.join(ROOT, "build", "bin"))
FAILPOINTS = os.path.join(os.path.dirname(BIN), "failpoints", "bin")  # the other build
STAGES = ("pgcdc-read", "cdc-batch", "cdc-merge", "dbx-load")

KILLED = -signal.SIGKILL  # an exit code

# What a stage may exit with when another one was killed, or a server was away: try again.
TRY_AGAIN = (0, 69, 75, KILLED)

WITHOUT_VECTORS = "delta.enableDeletionVectors=false"

_running = set()


def kill_leftovers():
    """SIGKILL to every stage that still runs; returns the names of those."""
    left = [process for process in _running if process.poll() is None]
    for process in left:
        process.kill()
        process.wait()
    _running.clear()
    return [os.path.basename(process.args[0]) for process in left]


atexit.register(kill_leftovers)


def wait_for(condition, timeout, what, interval=0.05):
    """Returns the first true result of condition(); fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"{what}: not so after {timeout} s"
        time.sleep(interval)


class Pipeline:
    """One pipeline with its state folder; stages are known by their program's name.

    options: extra arguments per stage. environments: extra variables per stage, e.g. a failpoint.
    vectors: deletion vectors, which make a MERGE of a few rows a third dearer in local Spark.
    """

    def __init__(self, folder, *, conninfo, slot, publication, catalog, environment=None,
                 options=None, environments=None, bin_folder=BIN, vectors=False):  # fmt: skip
        self.folder = str(folder)
        self.state = os.path.join(self.folder, "state")
        self.environment = {**os.environ, **(environment or {}), "CDC_STATE": self.state}
        self.environments = environments or {}
        options = options or {}
        arguments = {
            "pgcdc-read": ["--slot", slot, "--publication", publication, "-d", conninfo],
            "cdc-merge": ["--catalog", catalog],
            "dbx-load": [] if vectors else ["--table-properties", WITHOUT_VECTORS],
        }
        self.commands = {
            stage: [
                os.path.join(bin_folder, stage),
                *arguments.get(stage, []),
                *options.get(stage, []),
            ]
            for stage in STAGES
        }
        self.processes = {}
        self.ended = []  # the exit codes of every run that is over
        self.killed = set()  # stages that we killed in this run
        os.makedirs(self.folder, exist_ok=True)

    def log_path(self, stage):
        return os.path.join(self.folder, f"{stage}.log")

    def log(self, stage=None):
        """What a stage, or all of them one after the other, said on stderr in all runs."""
        text = ""
        for name in [stage] if stage else STAGES:
            try:
                with open(self.log_path(name), encoding="utf-8", errors="replace") as f:
                    text += f.read()
            except FileNotFoundError:
                pass
        return text

    def start(self, *, extra=None):
        """Starts all stages; `extra` arguments per stage are for this run only.

        Every other run begins by reading changes by SQL, so that what is tested with several runs
        is tested on both paths.
        """
        assert not self.running(), "the pipeline runs already"
        self.killed = set()
        self.processes = {}
        extra = {stage: list(arguments) for stage, arguments in (extra or {}).items()}
        if len(self.ended) % 2:
            extra.setdefault(STAGES[0], []).extend(["--fetch", "sql"])
        stdin, group = subprocess.DEVNULL, 0
        for stage in STAGES:
            last = stage == STAGES[-1]
            with open(self.log_path(stage), "ab") as log:
                process = subprocess.Popen(
                    self.commands[stage] + extra.get(stage, []),
                    stdin=stdin,
                    stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                    stderr=log,
                    env={**self.environment, **self.environments.get(stage, {})},
                    process_group=group,
                )
            _running.add(process)
            self.processes[stage] = process
            group = group or process.pid
            if stdin is not subprocess.DEVNULL:
                stdin.close()  # the stage has it now; it must be the only one
            stdin = process.stdout
        return self

    def running(self):
        return [stage for stage, process in self.processes.items() if process.poll() is None]

    def kill(self, *stages, number=signal.SIGKILL):
        for stage in stages or STAGES:
            self.killed.add(stage)
            self.processes[stage].send_signal(number)

    def interrupt(self, number=signal.SIGINT):
        """A signal to the whole group, as a terminal's Ctrl-C sends it."""
        os.killpg(self.processes[STAGES[0]].pid, number)

    def wait(self, timeout=60):
        """Waits until every stage has ended by itself; returns their exit codes."""
        deadline = time.monotonic() + timeout
        for process in self.processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(
                    f"still running after {timeout} s: {self.running()}\n{self.log()}"
                ) from None
        codes = {stage: process.returncode for stage, process in self.processes.items()}
        _running.difference_update(self.processes.values())
        self.processes = {}
        self.ended.append(codes)
        return codes

    def stop(self, timeout=60):
        """SIGTERM to all, as a supervisor stops it: every stage must end with 0."""
        self.interrupt(signal.SIGTERM)
        codes = self.wait(timeout)
        assert set(codes.values()) == {0}, f"{codes}\n{self.log()}"

    def once(self, timeout=120):
        """A run with --once, to its end: every stage must end with 0."""
        codes = self.start(extra={"pgcdc-read": ["--once"]}).wait(timeout)
        assert set(codes.values()) == {0}, f"{codes}\n{self.log()}"

    def tick(self):
        """Starts the pipeline again if a stage has ended; one that needs a person is a failure.

        A stage that ends must take the others with it: they get a minute, for dbx-load first
        finishes what is prepared.
        """
        if self.processes and len(self.running()) == len(STAGES):
            return
        if self.processes:
            codes = self.wait(60)
            bad = {stage: code for stage, code in codes.items() if code not in TRY_AGAIN}
            assert not bad, f"{bad}\n{self.log()}"
            time.sleep(0.2)
        self.start()

    def position(self, key="applied"):
        return state.position(self.state, key)

    def wait_applied(self, lsn, timeout=120, restart=False):
        """Waits until the target is at least as of `lsn` (a number)."""

        def done():
            if restart:
                self.tick()
            elif len(self.running()) < len(STAGES):
                raise AssertionError(f"a stage ended: {self.wait(20)}\n{self.log()}")
            return state.holds(self.state, lsn)

        try:
            wait_for(done, timeout, f"applied past {lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def kill_leftovers(self):
        """Ends what still runs, for the end of a test; returns the names."""
        left = self.running()
        for stage in left:
            self.processes[stage].kill()
            self.processes[stage].wait()
        _running.difference_update(self.processes.values())
        self.processes = {}
        return left
