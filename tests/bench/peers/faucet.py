"""faucet-cli, from crates.io."""

import json
import os
import time

from bench import ours
from bench.peers import common

# The newest wants a newer Rust than its own index says of this one; with its lock file it builds.
NAME, VERSION = "faucet-cli", "1.0.1"
IDLE = 2  # seconds without a change after which it takes a backlog for read


def install(folder):
    common.quietly("cargo", "install", "-q", "--locked", "--root", folder, f"faucet-cli@{VERSION}")


def run(bench, folder, source):
    """Files are staged as JSON Lines, the sink of its own example."""
    with ours.folder(bench) as path:
        pipeline = os.path.join(path, "pipeline.yaml")
        staged = os.path.join(path, "rows.jsonl")
        sink = {"type": "jsonl", "config": {"path": staged}}
        with open(pipeline, "w", encoding="utf-8") as f:
            json.dump(
                {"version": 1, "name": "peer", "pipeline": {"source": source, "sink": sink}}, f
            )
        started = time.time()
        figures = bench.run([[f"{folder}/bin/faucet", "run", pipeline]])
        figures.seconds = os.stat(staged).st_mtime - started  # not how long it waited then
        figures.staged = os.path.getsize(staged)
        return figures


def backlog(bench, folder, source, rows):
    with source.copy() as slot:
        return run(bench, folder, {
            "type": "postgres-cdc",
            "config": {
                "connection_url": common.url(source), "slot_name": slot,
                "publication_name": "pub", "idle_timeout": IDLE,
            },
        })  # fmt: skip


def snapshot(bench, folder, source, rows):
    return run(bench, folder, {
        "type": "postgres",
        "config": {"connection_url": common.url(source), "query": "SELECT * FROM narrow"},
    })  # fmt: skip
