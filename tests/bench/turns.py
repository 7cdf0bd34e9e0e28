"""Lets contestants take turns on one server, and says what they do and what came out."""

import datetime
import os
import platform
import statistics
import tempfile
import time

from bench import measure, source


class Bench:
    """What contestants get: the server, a folder, how large all is to be, and a voice."""

    def __init__(self, cluster, folder, scale, rounds):
        self.cluster, self.folder = cluster, folder
        self.scale, self.rounds = scale, rounds
        self.contestant = None  # whose command lines have not been shown yet

    def size(self, number):
        return max(1, round(number * self.scale))

    def source(self, name):
        self.say(f"\n== {name}")
        return source.Source(self.cluster, name)

    def say(self, text):
        print(text, flush=True)

    def show(self, commands):
        """Prints a contestant's command lines; those of later rounds differ by the slot only."""
        if self.contestant:
            self.contestant = None
            self.say("    " + measure.shown(commands).replace(self.folder, "$DIR"))

    def run(self, commands, environment=None):
        self.show(commands)
        return measure.run(commands, environment=environment)

    def turns(self, contestants, rounds):
        """Lets the contestants take turns: {name: [Figures]}, or {name: Failed} for one that fails."""
        samples = {name: [] for name in contestants}
        for turn in range(rounds):
            for name, contestant in contestants.items():
                if isinstance(samples[name], measure.Failed):
                    continue
                if turn >= getattr(contestant, "rounds", rounds):
                    continue
                self.contestant = name if turn == 0 else None
                try:
                    figures = contestant(self)
                except measure.Failed as failure:
                    samples[name] = failure
                    self.say(f"  {name}: failed: {failure}")
                else:
                    samples[name].append(figures)
                    self.say(f"  {name}: {figures}")
        return samples


def about(bench):
    """A line about the day, the machine and the run."""
    return (
        f"{datetime.date.today()}, {machine()}; PostgreSQL {source.version(bench.cluster)},"
        f" fsync=on, one of 4 kB takes {fsync_time(bench.folder) * 1000:.2f} ms;"
        f" medians of {bench.rounds} rounds"
        + (f"; {bench.scale:g} of the rows" if bench.scale != 1 else "")
    )


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = [line.split(":")[1].strip() for line in f if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, {memory:.0f} GiB"
    )


def fsync_time(folder):
    """Median seconds for 4 kB more in a file to be on the disk."""
    taken = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            started = time.monotonic()
            os.fsync(file.fileno())
            taken.append(time.monotonic() - started)
    return statistics.median(taken)


def table(headings, rows):
    """Markdown that is legible as it is."""
    rows = [headings, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
