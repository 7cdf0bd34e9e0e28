"""Debezium's engine, embedded, with a consumer that does nothing: it stages no files."""

import os
import shutil

from bench.peers import common

NAME, VERSION = "Debezium engine", "3.6.1.Final"  # as in pom.xml
HERE = os.path.dirname(os.path.abspath(__file__))

# What the documentation of the connector asks for; all else is its default.
PROPERTIES = {
    "name": "peer",
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
    "topic.prefix": "peer",
    "plugin.name": "pgoutput",
    "publication.autocreate.mode": "disabled",
    "database.hostname": "127.0.0.1",
    "database.user": common.USER,
    "database.password": common.PASSWORD,
}


def install(folder):
    pom = os.path.join(HERE, "pom.xml")
    jars = os.path.join(folder, "jars")
    common.quietly(
        "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={jars}"
    )
    source = os.path.join(HERE, "Peer.java")
    common.quietly("javac", "-cp", f"{jars}/*", "-d", folder, source)


def run(bench, folder, source, rows, **properties):
    properties = {
        **PROPERTIES,
        "database.port": source.cluster.port,
        "database.dbname": source.name,
        "publication.name": "pub",
        **{name.replace("_", "."): value for name, value in properties.items()},
    }
    pairs = [f"{name}={value}" for name, value in properties.items()]
    classes = f"{folder}/jars/*:{folder}"
    return bench.run([[shutil.which("java") or "java", "-cp", classes, "Peer", str(rows), *pairs]])


def backlog(bench, folder, source, rows):
    with source.copy() as slot:
        return run(bench, folder, source, rows, slot_name=slot, snapshot_mode="no_data")


def snapshot(bench, folder, source, rows):
    return run(
        bench, folder, source, rows, slot_name=f"{source.name}_debezium",
        snapshot_mode="initial_only", slot_drop_on_stop="true",
    )  # fmt: skip
