"""Certificates for a test: made with openssl, by an authority of its own."""

import os
import shutil
import subprocess


class Authority:
    """A certificate authority in a folder; `file` is its certificate."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder)
        self.file = self._path("ca.crt")
        self._key = self._path("ca.key")
        self._make("/CN=pgcdc test", self._key, self.file)

    def issue(self, name):
        """A certificate for a host name: the paths of certificate and key."""
        certificate, key = self._path(f"{name}.crt"), self._path(f"{name}.key")
        self._make(
            f"/CN={name}", key, certificate,
            "-CA", self.file, "-CAkey", self._key, "-addext", f"subjectAltName=DNS:{name}",
        )  # fmt: skip
        return certificate, key

    def equip(self, cluster, name):
        """Gives a cluster that was created, and does not run, a certificate for a host name."""
        for path, usual in zip(self.issue(name), ("server.crt", "server.key")):
            there = os.path.join(cluster.data, usual)
            shutil.copy(path, there)
            os.chmod(there, 0o600)
            if cluster.user:
                os.chown(there, cluster.user.pw_uid, cluster.user.pw_gid)

    def _path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def _make(subject, key, certificate, *more):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", subject, "-keyout", key, "-out", certificate, *more],
            check=True, capture_output=True,
        )  # fmt: skip
