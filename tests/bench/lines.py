"""A line of the table: what is measured, against what, and what it should come to."""

import dataclasses
import statistics
from collections.abc import Callable

TOLERANCE = 0.10  # a result may miss its goal by so much before the bench fails
SPREAD = 0.15  # more than that, and it is measured again


@dataclasses.dataclass(frozen=True)
class Line:
    """needs: the contestants whose runs it is worked out from. values: from them ({name: [Figures]}),
    one number for each round. result: the number to show, if it is not the values' median."""

    name: str
    work: str
    against: str
    goal: float
    unit: str
    at_least: bool
    needs: tuple[str, ...]
    values: Callable
    result: Callable | None = None

    def judge(self, samples):
        values = self.values(samples)
        number = self.result(samples) if self.result else statistics.median(values)
        return Result(self, number, spread(values))


@dataclasses.dataclass(frozen=True)
class Theme:
    """Lines that are measured together. contestants(bench) is a context manager that makes what they
    work on, and gives {name: contestant}; a contestant runs once when it is called with the bench,
    gives its Figures or raises Failed, and may have an attribute `rounds`, how often it is to run."""

    name: str
    contestants: Callable
    lines: list[Line]


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out for a line: a number and its spread, or an error's text."""

    line: Line
    number: float = 0.0
    spread: float = 0.0
    error: str = ""

    @property
    def missed(self):
        """By how much of the goal the result falls short of it; 0 if it does not."""
        number, goal = self.number, self.line.goal
        return max(0.0, (goal - number if self.line.at_least else number - goal) / goal)

    @property
    def failed(self):
        return bool(self.error) or self.missed > TOLERANCE

    def verdict(self):
        if self.error:
            return "failed: " + self.error
        return f"short by {100 * self.missed:.0f} %" if self.missed else "ok"

    def cells(self):
        """work, against, goal, result, spread, verdict"""
        line = self.line
        goal = f"{'≥' if line.at_least else '≤'} {amount(line.goal, line.unit)}"
        measured = amount(self.number, line.unit), f"{100 * self.spread:.0f} %"
        return [line.work, line.against, goal, *(measured if not self.error else ("", "")),
                self.verdict()]  # fmt: skip


def amount(number, unit):
    text = f"{number:.3g}" if number < 100 else f"{number:.0f}"
    return text + unit if unit == "×" else f"{text} {unit}"


def spread(values):
    """How far the middle half of the values lies apart, of their median: with five of them, the
    second from the fourth."""
    if len(values) < 4:
        low, high = min(values), max(values)
    else:
        low, _, high = statistics.quantiles(values, method="inclusive")
    return (high - low) / statistics.median(values)


RECEIVER = "receiver", "pg_recvlogical, protocol 1"
STREAMER = "streamer", "pg_recvlogical, protocol 2, streaming"


def seconds(figures):
    return figures.seconds


def times(name, work, goal, one, other, against, figure=seconds, at_least=False):
    """A figure of one, its time if nothing else is said, as a multiple of another's: of medians, and
    of each round for the spread."""

    def values(samples):
        return [figure(a) / figure(b) for a, b in zip(samples[one], samples[other])]

    def result(samples):
        medians = [
            statistics.median(map(figure, samples[contestant])) for contestant in (one, other)
        ]
        return medians[0] / medians[1]

    return Line(name, work, against, goal, "×", at_least, (one, other), values, result)


def speed(name, work, goal, ours, than=RECEIVER[0], against=RECEIVER[1]):
    """How many times as fast as the baseline."""
    return times(name, work, goal, than, ours, against, at_least=True)


def at_most(name, work, goal, unit, of, figure, against="—"):
    """A figure of each run; where several contestants are given, that of the one with the most."""

    def values(samples):
        return [max(map(figure, runs)) for runs in zip(*(samples[contestant] for contestant in of))]

    return Line(name, work, against, goal, unit, False, tuple(of), values)


def memory(name, work, *of):
    return at_most(name, work, 160, "MB", of, lambda figures: figures.peak / 1e6)


def processor_per_row(figures):
    return figures.cpu / figures.rows


def processor(name, work, *of):
    return at_most(name, work, 1.2, "s", of, lambda figures: processor_per_row(figures) * 1e6)


def growth(name, work, small, large):
    """Processor time per row of the larger one, as a multiple of the smaller one's."""
    return times(name, work, 1.0, large, small, "processor time per row there", processor_per_row)
