"""The Files API over DIR/Volumes: /api/2.0/fs/files/Volumes/… and …/fs/directories/Volumes/…"""

from __future__ import annotations

import base64
import os
import tempfile
from email.utils import formatdate
from pathlib import Path

from .catalog import Catalog
from .errors import HttpError
from .web import Reply, Request, json_reply

_PAGE = 1000


class Files:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self) -> list[tuple[str, str, object]]:
        file, folder = r"/api/2\.0/fs/files(/.*)", r"/api/2\.0/fs/directories(/.*)"
        return [
            ("PUT", file, self.upload),
            ("GET", file, self.download),
            ("HEAD", file, self.download),
            ("DELETE", file, self.delete_file),
            ("PUT", folder, self.make_folder),
            ("GET", folder, self.list_folder),
            ("HEAD", folder, self.head_folder),
            ("DELETE", folder, self.delete_folder),
        ]

    def _real(self, path: str, is_file: bool = False) -> Path:
        parts = path.rstrip("/").split("/") if not is_file else path.split("/")
        if parts[1:2] != ["Volumes"] or len(parts) < 5 + is_file:
            raise HttpError(400, "INVALID_PARAMETER_VALUE", f"{path} is not a path in a volume.")
        if any(part in ("", ".", "..") or "\0" in part for part in parts[2:]):
            raise HttpError(400, "INVALID_PARAMETER_VALUE", f"Invalid path: {path}.")
        if not self._catalog.has_volume(*parts[2:5]):
            raise HttpError(404, "NOT_FOUND", f"Volume '{'.'.join(parts[2:5])}' does not exist.")
        return Path(self._catalog.real_path("/".join(parts)))

    def upload(self, request: Request, path: str) -> Reply:
        real = self._real(path, is_file=True)
        if real.is_dir():
            raise HttpError(400, "INVALID_PARAMETER_VALUE", f"{path} is a directory.")
        try:
            real.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise HttpError(400, "INVALID_PARAMETER_VALUE", f"{path} lies in a file.") from None
        # a reader, or a reader after a crash, sees the whole file or none
        handle, temporary = tempfile.mkstemp(dir=self._catalog.volumes, prefix=".upload-")
        try:
            with os.fdopen(handle, "wb") as out:
                for piece in request.body():
                    out.write(piece)
            if request.query.get("overwrite", "true").lower() == "true":
                os.rename(temporary, real)
            else:
                os.link(temporary, real)
        except FileExistsError:
            raise HttpError(409, "ALREADY_EXISTS", "The file being created exists.") from None
        finally:
            Path(temporary).unlink(missing_ok=True)
        return Reply(204)

    def download(self, request: Request, path: str) -> Reply:
        real = self._real(path, is_file=True)
        try:
            source = real.open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _no_file() from None
        info = os.fstat(source.fileno())
        headers = {
            "Content-Type": "application/octet-stream",
            "Last-Modified": formatdate(info.st_mtime, usegmt=True),
        }
        return Reply(200, headers=headers, file=source, size=info.st_size)

    def delete_file(self, request: Request, path: str) -> Reply:
        try:
            self._real(path, is_file=True).unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            raise _no_file() from None
        return Reply(204)

    def make_folder(self, request: Request, path: str) -> Reply:
        try:
            self._real(path).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise HttpError(409, "ALREADY_EXISTS", f"{path} is a file.") from None
        return Reply(204)

    def head_folder(self, request: Request, path: str) -> Reply:
        self._folder(path)
        return Reply(200)

    def list_folder(self, request: Request, path: str) -> Reply:
        real = self._folder(path)
        try:
            size = int(request.query.get("page_size", 0))
            size = size if 0 < size < _PAGE else _PAGE
            after = base64.urlsafe_b64decode(request.query.get("page_token", "")).decode()
        except ValueError:
            raise HttpError(400, "INVALID_PARAMETER_VALUE", "Invalid page token or size.") from None
        found = sorted(entry for entry in real.iterdir() if entry.name > after)
        contents = []
        for entry in found[:size]:
            try:
                info = entry.stat()
            except FileNotFoundError:
                continue
            shown = f"{path.rstrip('/')}/{entry.name}"
            item = {"path": shown, "name": entry.name, "is_directory": entry.is_dir()}
            if not entry.is_dir():
                item |= {"file_size": info.st_size, "last_modified": int(info.st_mtime * 1000)}
            contents.append(item)
        page: dict[str, object] = {"contents": contents}
        if len(found) > size:
            page["next_page_token"] = base64.urlsafe_b64encode(
                found[size - 1].name.encode()
            ).decode()
        return json_reply(page)

    def delete_folder(self, request: Request, path: str) -> Reply:
        real = self._folder(path)
        if len(path.strip("/").split("/")) == 4:
            raise HttpError(400, "INVALID_PARAMETER_VALUE", "A volume's root can't be deleted.")
        try:
            real.rmdir()
        except OSError:
            raise HttpError(
                400, "DIRECTORY_NOT_EMPTY", "The directory being deleted is not empty."
            ) from None
        return Reply(204)

    def _folder(self, path: str) -> Path:
        real = self._real(path)
        if not real.is_dir():
            raise HttpError(404, "NOT_FOUND", "The directory being accessed is not found.")
        return real


def _no_file() -> HttpError:
    return HttpError(404, "NOT_FOUND", "The file being accessed is not found.")
