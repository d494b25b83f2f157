"""A Hub on the loopback address that serves folders to the real huggingface_hub client.

    with LoopbackHub({"models/user/name@main": folder}) as hub: ...   # hub.url is its HF_ENDPOINT

It speaks the part of the Hub's HTTP interface that fetching needs: what a repository holds, and
its files. A key names the kind, the repository and the revision (a branch or a commit).
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Repository:
    """One revision of a repository."""

    name: str
    revision: str
    folder: Path

    @property
    def sha(self) -> str:
        """The revision where it is a commit; else one that follows from what the folder holds."""
        if re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return self.revision
        content = "".join(f"{file}{self.etag(file)}" for file in self.files)
        return hashlib.sha1(content.encode()).hexdigest()

    @property
    def files(self) -> list[str]:
        """All files, relative to the folder."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [path.relative_to(self.folder).as_posix() for path in paths]

    def etag(self, file: str) -> str:
        """The SHA-256 of a file."""
        return hashlib.sha256((self.folder / file).read_bytes()).hexdigest()

    def info(self) -> dict[str, object]:
        """What the Hub says of it."""
        siblings = [{"rfilename": file} for file in self.files]
        return {"id": self.name, "sha": self.sha, "siblings": siblings, "private": False}

    def tree(self, folder: str, recursive: bool) -> list[dict[str, object]]:
        """What lies in a folder (or anywhere below it), as the Hub lists it."""
        prefix = f"{folder}/" if folder else ""
        below = [file for file in self.files if file.startswith(prefix)]
        files = [file for file in below if recursive or "/" not in file.removeprefix(prefix)]
        folders = {prefix + file.removeprefix(prefix).split("/")[0] for file in below} - set(files)
        entries: list[dict[str, object]] = [
            {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
            for path in sorted(folders)
        ]
        for file in files:
            size = (self.folder / file).stat().st_size
            entries.append(
                {"type": "file", "path": file, "size": size, "oid": self.etag(file)[:40]}
            )
        return entries


class LoopbackHub:
    """Serve repositories until the block ends; `asked` lists the paths that were asked for."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        for key, folder in folders.items():
            place, revision = key.rsplit("@", 1)
            repository = Repository(place.split("/", 1)[1], revision, folder)
            self.repositories[place, revision] = repository
            self.repositories[place, repository.sha] = repository
        self.asked: list[str] = []

    def __enter__(self) -> "LoopbackHub":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path)
                status, headers, body = hub.answer(*unquote(self.path).partition("?")[::2])
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """Say nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, query: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path and its query."""
        api = re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)(?:/(revision|tree)/([^/]+)/?(.*))?", path)
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api:
            repository = self.repositories.get((api[1], api[3] or "main"))
            if repository and api[2] == "tree":
                tree = repository.tree(api[4], "recursive=true" in query.lower())
                return 200, {}, json.dumps(tree).encode()
            if repository:
                return 200, {}, json.dumps(repository.info()).encode()
            known = any(place == api[1] for place, _ in self.repositories)
            return 404, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, b"{}"
        if file:
            repository = self.repositories.get(((file[1] or "models/") + file[2], file[3]))
            if repository and file[4] in repository.files:
                body = (repository.folder / file[4]).read_bytes()
                etag = f'"{repository.etag(file[4])}"'
                return 200, {"ETag": etag, "X-Repo-Commit": repository.sha}, body
        return 404, {"X-Error-Code": "EntryNotFound"}, b""


def run_with_hub(code: str, url: str, home: Path) -> str:
    """Run Python code in the repository with this Hub and an empty cache; what it printed.

    huggingface_hub reads its settings once, so a process of its own is needed.
    """
    environment = os.environ | {
        "HF_ENDPOINT": url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
