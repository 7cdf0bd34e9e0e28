"""faucet-cli, from crates.io."""

import json
import os
import time

from bench import ours
from bench.peers import common

# The newest, 1.17.0, wants Rust 1.99; this is the last for 1.95. The features are its own way of
# building it with a few connectors only: with all of them, cargo works for an hour.
NAME, VERSION = "faucet-cli", "1.0.1"
FEATURES = "source-postgres,source-postgres-cdc,sink-jsonl"
IDLE = 2  # seconds without a change after which it takes a backlog for read


def install(folder):
    common.quietly(
        "cargo", "install", "-q", "--locked", "--no-default-features", "--features", FEATURES,
        "--root", folder, f"faucet-cli@{VERSION}",
    )  # fmt: skip


def run(bench, folder, source):
    """Rows are staged as JSON Lines, as in its own example of a pipeline."""
    path = ours.folder(bench)
    staged = os.path.join(path, "rows.jsonl")
    pipeline = {
        "source": source,
        "sink": {"type": "jsonl", "config": {"path": staged}},
        "state": {"type": "file", "config": {"path": os.path.join(path, "state")}},
    }
    file = os.path.join(path, "pipeline.yaml")
    with open(file, "w", encoding="utf-8") as f:  # JSON is YAML
        json.dump({"version": 1, "name": "peer", "pipeline": pipeline}, f)
    started = time.time()
    figures = bench.run([[f"{folder}/bin/faucet", "run", file]])
    figures.seconds = os.stat(staged).st_mtime - started  # less how long it then waited
    figures.staged = os.path.getsize(staged)
    return figures


def backlog(bench, folder, source, rows):
    with source.copy() as slot:
        return run(bench, folder, {
            "type": "postgres-cdc",
            "config": {
                "connection_url": common.url(source), "slot_name": slot,
                "publication_name": "pub", "idle_timeout": IDLE, "status_update_interval": IDLE // 2,
            },
        })  # fmt: skip


def snapshot(bench, folder, source, rows):
    return run(bench, folder, {
        "type": "postgres",
        "config": {"connection_url": common.url(source), "query": "SELECT * FROM narrow"},
    })  # fmt: skip
