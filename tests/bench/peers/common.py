"""What peers share."""

import os
import re
import subprocess

from bench import measure

# They connect by TCP, where the server asks for a password; it has no other purpose.
USER, PASSWORD = "peer", "peer"
ROLE = f"CREATE ROLE {USER} SUPERUSER REPLICATION LOGIN PASSWORD '{PASSWORD}'"


def url(source):
    return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{source.cluster.port}/{source.name}"


def quietly(*command, **options):
    """Runs a command of an installation; what it says of an error is that of Failed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, **options
        )
    except OSError as error:
        raise measure.Failed(str(error)) from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        telling = [line for line in said if re.search("error|fatal|failed", line, re.IGNORECASE)]
        raise measure.Failed((telling or said)[-1].strip())


def venv(folder, *requirements):
    """A Python environment with these packages."""
    quietly("/usr/bin/python3", "-m", "venv", folder)
    quietly(f"{folder}/bin/pip", "install", "-q", "--disable-pip-version-check", *requirements)


def size(folder):
    """The bytes of all files in it."""
    return sum(
        os.path.getsize(os.path.join(path, name))
        for path, _, names in os.walk(folder)
        for name in names
    )
