"""ingestr, from PyPI. Since 1.0 that package downloads the program itself from GitHub."""


from bench.peers import common

NAME, VERSION = "ingestr", "1.1.76"


def install(folder):
    common.venv(folder, f"ingestr=={VERSION}")
    common.quietly(f"{folder}/bin/ingestr", "--version")
