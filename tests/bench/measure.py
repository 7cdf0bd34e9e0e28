"""Runs command lines that are connected by pipes, and measures what they take."""

import dataclasses
import os
import shlex
import subprocess
import tempfile
import threading
import time

SAMPLE = 0.02  # seconds between two looks at the memory of what runs


class Failed(Exception):
    """A command did not do its work; the text says which and why, on one line."""


@dataclasses.dataclass
class Figures:
    """Of one run: seconds from the start of the first command to the end of the last; processor
    seconds of each, user and system; and the bytes that each had resident at most."""

    seconds: float = 0.0
    cpus: tuple[float, ...] = ()
    peaks: tuple[int, ...] = ()
    rows: int = 0  # what it worked on: rows read or changed
    staged: int = 0  # bytes of the files that it made
    plain: int = 0  # bytes of the same rows as compressed CSV
    latencies: list[float] = dataclasses.field(default_factory=list)  # seconds

    @property
    def cpu(self):
        return sum(self.cpus)

    @property
    def peak(self):
        return sum(self.peaks)

    def __str__(self):
        if not self.cpus:
            return f"{self.seconds:.2f} s"
        cpu = " + ".join(f"{cpu:.2f}" for cpu in self.cpus)
        peak = " + ".join(f"{peak / 1e6:.0f}" for peak in self.peaks)
        return f"{self.seconds:.2f} s; processor {cpu} s; memory {peak} MB"


class Watch(threading.Thread):
    """Looks at the memory of processes while they run, and ends them at the deadline."""

    def __init__(self, pids, timeout):
        super().__init__(daemon=True)
        self.pids, self.peaks = set(pids), {}
        self.deadline, self.late = time.monotonic() + timeout, False
        self.over = threading.Event()
        self.lock = threading.Lock()  # a pid is not waited for while it may be killed

    def run(self):
        while not self.over.wait(SAMPLE):
            with self.lock:
                for pid in self.pids:
                    self.peaks[pid] = resident(pid) or self.peaks.get(pid, 0)
                if time.monotonic() > self.deadline and not self.late:
                    self.late = True
                    self.kill()

    def kill(self):
        for pid in self.pids:
            os.kill(pid, 9)

    def end(self):
        self.over.set()
        self.join()


def resident(pid):
    """The bytes that a process has had resident at most; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            return next((int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def shown(commands):
    """The command lines as one would type them, programs without their folder."""
    return " |\n    ".join(shlex.join([os.path.basename(c[0]), *c[1:]]) for c in commands)


class Chain:
    """Commands connected by pipes, started; end() waits for them.

    What the last one prints is dropped, or goes to the file `output`."""

    def __init__(self, commands, environment=None, timeout=300, output=subprocess.DEVNULL):
        self.commands, self.processes, self.errors = commands, [], []
        self.timeout = timeout
        self.started = time.monotonic()
        stdin = subprocess.DEVNULL
        for command in commands:
            last = command is commands[-1]
            error = tempfile.TemporaryFile()
            try:
                process = subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=output if last else subprocess.PIPE,
                    stderr=error,
                    env={**os.environ, **(environment or {})},
                )
            except OSError as problem:
                self.abandon()
                raise Failed(str(problem)) from None
            if stdin is not subprocess.DEVNULL:
                stdin.close()  # its reader has it now, and must be the only one
            stdin = process.stdout
            self.processes.append(process)
            self.errors.append(error)
        self.watch = Watch([process.pid for process in self.processes], timeout)
        self.watch.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watch.end()
        self.abandon()

    def abandon(self):
        """Ends what still runs."""
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        for error in self.errors:
            error.close()

    def interrupt(self, signal):
        for process in self.processes:
            process.send_signal(signal)

    def end(self):
        """Waits until all have ended by themselves, each with 0."""
        cpus = []
        for process in self.processes:
            # first without reaping, so that Watch never kills a process that is another one by now
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            with self.watch.lock:
                self.watch.pids.discard(process.pid)
                _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpus.append(usage.ru_utime + usage.ru_stime)
        seconds = time.monotonic() - self.started
        self.watch.end()
        for process, command, error in zip(self.processes, self.commands, self.errors):
            if process.returncode:
                error.seek(0)
                said = error.read().decode(errors="replace").strip().splitlines()
                why = f"not done after {self.timeout} s" if self.watch.late else said[-1:]
                program = os.path.basename(command[0])
                why = "".join(why).replace(command[0], program)
                raise Failed(f"{program} ended with {process.returncode}: {why}")
        peaks = (self.watch.peaks.get(process.pid, 0) for process in self.processes)
        return Figures(seconds, tuple(cpus), tuple(peaks))


def run(commands, **options):
    """Runs them to their end."""
    with Chain(commands, **options) as chain:
        return chain.end()
