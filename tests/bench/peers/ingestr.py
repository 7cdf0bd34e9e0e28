"""ingestr, from PyPI. Since 1.0 that package is a stub which gets the program from GitHub."""

from bench import measure
from bench.peers import common

NAME, VERSION = "ingestr", "1.1.76"


def install(folder):
    common.venv(folder, f"ingestr=={VERSION}")
    common.quietly(f"{folder}/bin/ingestr", "--version")


def backlog(bench, folder, source, rows):
    raise measure.Failed("not from a package registry, so it is not run")


snapshot = backlog
