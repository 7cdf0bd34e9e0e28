"""The settings of whoever runs the tests or the demo: none of them may get into those."""

import os
import urllib.parse

KEPT = ("PGBIN", "PGCDC_BIN", "PGCDC_BUILD")


def warehouse_is_local():
    """True if $DATABRICKS_HOST names a warehouse on this machine, which may then be used."""
    host = os.environ.get("DATABRICKS_HOST", "")
    return urllib.parse.urlsplit(host).hostname in ("127.0.0.1", "localhost")


def forget_settings():
    """Takes what libpq, Databricks' tools and ours would read out of the environment."""
    prefixes = ["PG", "CDC_", "DATABASE_URL"]
    if not warehouse_is_local():
        prefixes.append("DATABRICKS_")
    for name in list(os.environ):
        if name.startswith(tuple(prefixes)) and name not in KEPT:
            del os.environ[name]
    os.environ["DATABRICKS_CONFIG_FILE"] = os.devnull
