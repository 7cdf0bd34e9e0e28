"""The local warehouse as a test sees it: started once, or one that runs already."""

import os
import shlex
import shutil
import subprocess
import tempfile

from lib import databricks
from lib.environment import warehouse_is_local
from lib.postgres import free_port

PROGRAM = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "warehouse", "warehouse"
)


class LocalWarehouse:
    """`environment` has the DATABRICKS_* variables; `api` reads and writes by the Statement API."""

    def __init__(self, directory=None):
        self.directory = directory
        self.temporary = directory is None
        self.environment = {}
        self.api = None

    def start(self):
        """Starts one. Without a directory, takes the one on this machine that $DATABRICKS_HOST names."""
        if self.temporary and warehouse_is_local():
            self.environment = {
                name: value for name, value in os.environ.items() if name.startswith("DATABRICKS_")
            }
            self.directory = None
        else:
            self.directory = self.directory or tempfile.mkdtemp(prefix="pgcdc-warehouse-")
            done = subprocess.run(
                [PROGRAM, "start", "--dir", self.directory, "--port", str(free_port())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                process_group=0,  # a Ctrl-C is ours to handle: by stop(), once it has started
            )
            for word in shlex.split(done.stdout.replace(";", " ")):
                name, equals, value = word.partition("=")
                if equals:
                    self.environment[name] = value
        self.api = databricks.Warehouse.from_environment(self.environment)
        return self

    def stop(self):
        if self.directory:
            subprocess.run([PROGRAM, "stop", "--dir", self.directory], check=True)
            if self.temporary:
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
