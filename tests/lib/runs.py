"""Runs of pgcdc-read, one after another."""

import signal

from lib import state
from lib.reader import Reader


class Runs:
    """Runs of the reader, one after another, whose frames together make up the target."""

    def __init__(self, database, slot, load):
        self.database, self.slot, self.load = database, slot, load
        self.frames = []

    def start(self, *arguments):
        reader = Reader(self.database.conninfo, self.slot, *arguments, state=self.load.folder)
        self.load.serve(reader, state.position(self.load.folder, "prepared"))
        return reader

    def read(self, reader):
        """The tables that it has read to their end; dbx-load has them, too."""
        names = {r[3]: r[4]["table"] for r in reader.of("relation")}
        for _, oid, attempt, lsn, _ in reader.of("snapshot-end"):
            self.load.snapshots = [s for s in self.load.snapshots if s[0] != oid]
            self.load.add_snapshot(oid, lsn, attempt)
        self.frames += reader.frames
        return sorted(names[frame[1]] for frame in reader.of("snapshot-end"))

    def once(self, *arguments, said=""):
        """A run to its end: the tables that it read."""
        with self.start("--once", *arguments) as reader:
            end = reader.wait_frames("end")[0][1]
            read = self.read(reader)
            self.load.apply(end)
            self.load.drop_lock()
            assert reader.wait() == 0
            assert said in reader.said and bool(reader.said) == bool(said), reader.said
        self.load.take_lock()
        return read

    def stop(self, reader):
        """Ends a run as Ctrl-C does: the tables that it read."""
        reader.process.send_signal(signal.SIGTERM)
        end = reader.wait_frames("end")[0][1]
        read = self.read(reader)
        self.load.apply(end)
        self.load.drop_lock()
        assert reader.wait() == 0
        self.load.take_lock()
        return read
