"""A Hub on the loopback address for the real huggingface_hub client: it serves and takes files.

    with LoopbackHub({"models/user/name@main": folder}) as hub: ...   # hub.url is its HF_ENDPOINT

It speaks the part of the Hub's HTTP interface that fetching needs (what a repository holds, and
its files) and that publishing needs (create, preupload, LFS, commit). A key names the kind, the
repository and the revision (a branch or a commit).
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

from datasets import Dataset, Image

ROOT = Path(__file__).parents[1]
WRITE_TOKEN, READ_TOKEN = "hf_may_write", "hf_may_only_read"
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Repository:
    """One revision of a repository: its files by their paths."""

    name: str
    revision: str
    files: dict[str, bytes]

    @property
    def sha(self) -> str:
        """The revision where it is a commit; else one that follows from the files."""
        if re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return self.revision
        content = "".join(f"{file}{self.etag(file)}" for file in sorted(self.files))
        return hashlib.sha1(content.encode()).hexdigest()

    def etag(self, file: str) -> str:
        """The SHA-256 of a file."""
        return hashlib.sha256(self.files[file]).hexdigest()

    def info(self) -> dict[str, object]:
        """What the Hub says of it."""
        siblings = [{"rfilename": file} for file in sorted(self.files)]
        return {"id": self.name, "sha": self.sha, "siblings": siblings, "private": False}

    def tree(self, folder: str, recursive: bool) -> list[dict[str, object]]:
        """What lies in a folder (or anywhere below it), as the Hub lists it."""
        prefix = f"{folder}/" if folder else ""
        below = sorted(file for file in self.files if file.startswith(prefix))
        files = [file for file in below if recursive or "/" not in file.removeprefix(prefix)]
        folders = {prefix + file.removeprefix(prefix).split("/")[0] for file in below} - set(files)
        entries: list[dict[str, object]] = [
            {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
            for path in sorted(folders)
        ]
        for file in files:
            size, oid = len(self.files[file]), self.etag(file)[:40]
            entries.append({"type": "file", "path": file, "size": size, "oid": oid})
        return entries


class LoopbackHub:
    """Serve repositories, and take new ones, until the block ends.

    `asked` lists the paths that were asked for, `commits` the messages of what was committed;
    with `cut`, the connection is lost in the middle of every large file.
    """

    def __init__(self, folders: dict[str, Path], cut: bool = False) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.cut = cut
        self.asked: list[str] = []
        self.commits: list[str] = []
        self.private: dict[str, bool] = {}
        # What happens when a path is asked for.
        self.then: dict[str, Callable[[], None]] = {}
        self._uploads: dict[str, bytes] = {}
        for key, folder in folders.items():
            place, revision = key.rsplit("@", 1)
            paths = [path for path in folder.rglob("*") if path.is_file()]
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
            self.keep(place, revision, files)

    def files(self, place: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds."""
        return self.repositories[place, revision].files

    def __enter__(self) -> "LoopbackHub":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def get(self, path: str, query: str) -> Answer:
        """The answer to a GET or HEAD."""
        api = re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)(?:/(revision|tree)/([^/]+)/?(.*))?", path)
        file = re.fullmatch(r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api:
            repository = self.repositories.get((api[1], api[3] or "main"))
            if repository and api[2] == "tree":
                return _json(repository.tree(api[4], "recursive=true" in query.lower()))
            if repository:
                return _json(repository.info())
            known = any(place == api[1] for place, _ in self.repositories)
            return 404, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, b"{}"
        if file:
            repository = self.repositories.get(((file[1] or "models/") + file[2], file[3]))
            if repository and file[4] in repository.files:
                etag = f'"{repository.etag(file[4])}"'
                headers = {"ETag": etag, "X-Repo-Commit": repository.sha}
                return 200, headers, repository.files[file[4]]
        return 404, {"X-Error-Code": "EntryNotFound"}, b""

    def post(self, path: str, body: bytes, token: str) -> Answer:
        """The answer to a POST."""
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if token != WRITE_TOKEN:
            return (403 if token == READ_TOKEN else 401), {}, b'{"error": "no right to write"}'
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        branch = re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/branch/([^/]+)", path)
        if branch:
            self.keep(branch[1], branch[2], self.files(branch[1]))
            return _json({})
        if re.fullmatch(r"/api/.+/preupload/[^/]+", path):
            return _json({"files": [_upload_mode(file) for file in json.loads(body)["files"]]})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**part, "actions": {"upload": {"href": f"{self.url}/upload/{part['oid']}"}}}
                for part in json.loads(body)["objects"]
            ]
            return _json({"transfer": "basic", "objects": objects})
        commit = re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/commit/([^/]+)", path)
        if commit and (commit[1], commit[2]) in self.repositories:
            return self._commit(commit[1], commit[2], body)
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def put(self, path: str, body: bytes) -> Answer:
        """Take a large file."""
        oid = path.rsplit("/", 1)[1]
        assert hashlib.sha256(body).hexdigest() == oid
        self._uploads[oid] = body
        return _json({})

    def _create(self, asked: dict[str, object]) -> Answer:
        kind, name = f"{asked.get('type', 'model')}s", f"{asked['organization']}/{asked['name']}"
        url = f"{self.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if (f"{kind}/{name}", "main") in self.repositories:
            return 409, {}, json.dumps({"url": url}).encode()
        self.private[f"{kind}/{name}"] = asked.get("visibility") == "private"
        self.keep(f"{kind}/{name}", "main", {})
        return _json({"url": url})

    def _commit(self, place: str, revision: str, body: bytes) -> Answer:
        files = dict(self.files(place, revision))
        for line in body.splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "header":
                self.commits.append(value["summary"])
            elif part["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "deletedFile":
                del files[value["path"]]
            elif part["key"] == "lfsFile":
                files[value["path"]] = self._uploads[value["oid"]]
        sha = self.keep(place, revision, files).sha
        return _json({"commitUrl": f"{self.url}/{place}/commit/{sha}", "commitOid": sha})

    def keep(self, place: str, revision: str, files: dict[str, bytes]) -> Repository:
        """Have a repository hold files."""
        repository = Repository(place.split("/", 1)[1], revision, files)
        self.repositories[place, revision] = repository
        self.repositories[place, repository.sha] = repository
        return repository


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(self.path)
            hub.then.get(self.path, lambda: None)()
            self._answer(*hub.get(*unquote(self.path).partition("?")[::2]))

        def do_POST(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self._answer(*hub.post(unquote(self.path), self._body(), token))

        def do_PUT(self) -> None:
            if hub.cut:
                self.rfile.read(1)
                return self.connection.close()
            self._answer(*hub.put(self.path, self._body()))

        do_HEAD = do_GET

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            return body

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    return Handler


def _json(value: object) -> Answer:
    return 200, {}, json.dumps(value).encode()


def _upload_mode(file: dict[str, object]) -> dict[str, object]:
    """Large and binary files go to LFS, as on the Hub."""
    text = Path(str(file["path"])).suffix in (".md", ".json", ".py", ".txt", ".csv", ".css", ".js")
    mode = "regular" if text else "lfs"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


def digests(photos: Dataset) -> list[list]:
    """The SHA-256 of each photo's bytes, and its label."""
    files = photos.cast_column("image", Image(decode=False))
    return [
        [hashlib.sha256(row["bytes"] or Path(row["path"]).read_bytes()).hexdigest(), label]
        for row, label in zip(files["image"], files["label"], strict=True)
    ]


def with_hub(url: str, home: Path, token: str = "") -> dict[str, str]:
    """The environment of a process with this Hub, an empty cache, and a token or none."""
    return os.environ | {
        "HF_ENDPOINT": url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": token,
    }


def run_with_hub(code: str, url: str, home: Path) -> str:
    """Run Python code in the repository with this Hub and an empty cache; what it printed.

    huggingface_hub reads its settings once, so a process of its own is needed.
    """
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=with_hub(url, home),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
