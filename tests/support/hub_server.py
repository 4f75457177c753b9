"""A loopback server that speaks the routes of the Hub which the `huggingface_hub` client uses.

    with HubServer() as hub:
        api = HfApi(endpoint=hub.url, token=TOKEN)
        hub.fault("POST .*/commit/", status=500, times=1)

Repositories live in memory; every commit is kept whole. Xet is not spoken: set HF_HUB_DISABLE_XET.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_PlantedTokenThatNobodyMaySee"
READ_TOKEN = "hf_ReadsOnlyAndNobodyMaySeeIt"
SIGNATURE = "X-Amz-Signature-that-is-as-good-as-a-password"
ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"  # and so on, see LARGE

# Of the licences, tasks and sizes that the Hub knows, those that our tests name.
LICENSES = {"apache-2.0", "cc-by-4.0", "cc0-1.0", "mit", "other", "unknown"}
TASKS = {"text-generation", "summarization", "question-answering", "text-classification"}
RELATIONS = {"finetune", "adapter", "quantized", "merge"}
LARGE = (".parquet", ".safetensors", ".gguf")
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"}


def take_for_the_hub(server: HubServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the client of this process take the server for the real Hub, its cache in `folder`."""
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", server.url)
    monkeypatch.setattr(
        f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE",
        server.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # Every client reads all certificates at its start, which takes longer than its requests here.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)


class Answer(Exception):
    """Any answer that is not a success."""

    def __init__(self, status: int, message: str = "", code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, "X-Error-Code": code, **headers}
        self.body = json.dumps({"error": message}).encode()


@dataclass
class Repo:
    private: bool
    kind: str = "dataset"
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], message: str) -> str:
        sums = {name: zlib.crc32(content) for name, content in sorted(files.items())}
        oid = hashlib.sha1(f"{len(self.commits)} {message} {sums}".encode()).hexdigest()
        self.commits.append((oid, files))
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, bytes]]:
        if revision == "main":
            return self.commits[-1]
        revision = self.tags.get(revision, revision)
        for oid, files in self.commits:
            if oid == revision:
                return oid, files
        raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")


@dataclass
class Fault:
    """Something that goes wrong with the requests whose `METHOD path` holds the pattern.

    `cut` is "request" (the connection is reset when half of the body is read) or "response" (the
    request is obeyed, and the connection reset in the middle of the answer).
    """

    pattern: str
    times: float
    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    body: bytes | None = None


class HubServer:
    """The server and all that it holds."""

    def __init__(self, lfs_above: int = 1 << 30, parts_of: int | None = None, page: int = 7):
        self.repos: dict[str, Repo] = {}
        self.storage: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.writers = {TOKEN: {"acme", "ann"}}
        self.readers = {READ_TOKEN: {"acme", "ann"}}
        self.lfs_above, self.parts_of, self.page = lfs_above, parts_of, page
        self.lock = threading.RLock()
        self._sha256: dict[bytes, str] = {}
        hub = self

        class Bound(_Handler):
            pass

        Bound.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, pattern: str, *, times: float = 1, **what: Any) -> None:
        self.faults.append(Fault(pattern, times, **what))

    def struck(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds, but for what is the Hub's own."""
        held = dict(self.repos[repo_id].at(revision)[1])
        held.pop(".gitattributes", None)
        return held

    def routes(self, since: int = 0) -> list[str]:
        """The requests made, without what varies in them."""
        seen = []
        for request in self.requests[since:]:
            path = re.sub(r"\?.*", "", request)
            path = re.sub(r"[0-9a-f]{40,64}", "*", path)
            path = re.sub(r"(/resolve/[^/]+/).*", r"\1*", path)
            seen.append(path)
        return list(dict.fromkeys(seen))

    def resolve(self, repo_id: str, user: set[str] | None) -> Repo:
        repo = self.repos.get(repo_id)
        owner = repo_id.partition("/")[0]
        if repo is None or (repo.private and owner not in (user or set())):
            if user is None:
                raise Answer(401, "Invalid username or password.")
            raise Answer(404, "Repository not found", "RepoNotFound")
        return repo

    def entry(self, path: str, content: bytes) -> dict[str, Any]:
        found = {"type": "file", "path": path, "size": len(content)}
        if not self.is_lfs(path, len(content)):
            return {**found, "oid": git_blob(content)}
        sha256 = self.sha256(content)
        pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{sha256}\nsize {len(content)}\n"
        ).encode()
        lfs = {"oid": sha256, "size": len(content), "pointerSize": len(pointer)}
        return {**found, "oid": git_blob(pointer), "lfs": lfs}

    def sha256(self, content: bytes) -> str:
        """Computed once: a model takes a while, and is listed again and again."""
        if content not in self._sha256:
            self._sha256[content] = hashlib.sha256(content).hexdigest()
        return self._sha256[content]

    def is_lfs(self, path: str, size: int) -> bool:
        return size > 0 and (path.endswith(LARGE) or size > self.lfs_above)


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Or the body would wait 40 ms for the client's acknowledgement of the headers.
    disable_nagle_algorithm = True
    hub: HubServer
    body: bytes
    json: Any
    kind: str

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _handle(self) -> None:
        request = f"{self.command} {self.path}"
        fault = self.hub.struck(request)
        if fault is not None and fault.cut == "request":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self._reset()
            return
        self.body = self._read()
        with self.hub.lock:
            self.hub.requests.append(request)
            try:
                if fault is not None and fault.status:
                    raise Answer(fault.status, fault.message, **fault.headers)
                status, headers, content = self._answer()
            except Answer as answer:
                status, headers, content = answer.status, answer.headers, answer.body
        if fault is not None and fault.body is not None:
            content = fault.body
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault is not None and fault.cut == "response":
            self.wfile.write(content[: len(content) // 2])
            self._reset()
        elif self.command != "HEAD":
            self.wfile.write(content)

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reset(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.wfile.flush()
        self.connection.close()
        self.rfile = self.wfile = _Nothing()

    def _user(self) -> set[str] | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        token = header.removeprefix("Bearer ")
        known = {**self.hub.writers, **self.hub.readers}
        if token not in known:
            raise Answer(401, "Invalid credentials in Authorization header")
        return known[token]

    def _writer(self, owner: str) -> None:
        user = self._user()
        if user is None:
            raise Answer(401, "Invalid username or password.")
        token = self.headers["Authorization"].removeprefix("Bearer ")
        if owner not in self.hub.writers.get(token, set()):
            raise Answer(403, "You don't have the rights to write to this repository")

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        path = unquote(urlsplit(self.path).path)
        for pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                found = match.groupdict()
                if "kind" in found:
                    self.kind = "dataset" if "dataset" in (found.pop("kind") or "") else "model"
                    repo = self.hub.repos.get(found["repo_id"])
                    if repo is not None and repo.kind != self.kind:
                        raise Answer(404, "Repository not found", "RepoNotFound")
                return handler(self, **found)
        raise Answer(404, f"no route {self.command} {path}")

    def _json(self, content: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json", **headers}, json.dumps(content).encode()

    # The routes

    def whoami(self) -> Any:
        user = self._user()
        if user is None:
            raise Answer(401, "Invalid username or password.")
        return self._json({"name": "ann", "type": "user", "orgs": [{"name": "acme"}]})

    def create(self) -> Any:
        asked = json.loads(self.body)
        kind = asked.get("type", "model")
        owner = asked["organization"] or "ann"
        self._writer(owner)
        repo_id = f"{owner}/{asked['name']}"
        if repo_id in self.hub.repos:
            raise Answer(409, "You already created this repo")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo = self.hub.repos[repo_id] = Repo(private, kind)
        repo.commit({".gitattributes": ATTRIBUTES}, "initial commit")
        folder = "datasets/" if kind == "dataset" else ""
        return self._json({"url": f"{self.hub.url}/{folder}{repo_id}", "name": repo_id})

    def _web(self, repo_id: str) -> str:
        return f"{self.hub.url}/{'datasets/' if self.kind == 'dataset' else ''}{repo_id}"

    def validate(self) -> Any:
        errors = card_errors(json.loads(self.body)["content"])
        status, headers, content = self._json(
            {"errors": [{"message": error} for error in errors], "warnings": []}
        )
        return (400 if errors else status), headers, content

    def info(self, repo_id: str, revision: str = "main") -> Any:
        repo = self.hub.resolve(repo_id, self._user())
        oid, files = repo.at(revision)
        return self._json(
            {
                "_id": "0",
                "id": repo_id,
                "author": repo_id.partition("/")[0],
                "sha": oid,
                "private": repo.private,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(files)],
            }
        )

    def tree(self, repo_id: str, revision: str) -> Any:
        _, files = self.hub.resolve(repo_id, self._user()).at(revision)
        folders = {
            "/".join(path.split("/")[:depth])
            for path in files
            for depth in range(1, path.count("/") + 1)
        }
        entries = [{"type": "directory", "path": path, "size": 0, "oid": "0"} for path in folders]
        entries += [self.hub.entry(path, content) for path, content in files.items()]
        entries.sort(key=lambda entry: entry["path"])
        query = parse_qs(urlsplit(self.path).query)
        assert query["recursive"] == ["true"]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.hub.page < len(entries):
            url = urlsplit(self.path).path
            after = f"{self.hub.url}{url}?recursive=true&cursor={start + self.hub.page}"
            headers["Link"] = f'<{after}>; rel="next"'
        return self._json(entries[start : start + self.hub.page], **headers)

    def paths_info(self, repo_id: str, revision: str) -> Any:
        _, files = self.hub.resolve(repo_id, self._user()).at(revision)
        asked = parse_qs(self.body.decode())["paths"]
        return self._json([self.hub.entry(path, files[path]) for path in asked if path in files])

    def refs(self, repo_id: str) -> Any:
        repo = self.hub.resolve(repo_id, self._user())
        head = repo.commits[-1][0]
        return self._json(
            {
                "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": head}],
                "converts": [],
                "tags": [
                    {"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid}
                    for name, oid in repo.tags.items()
                ],
            }
        )

    def tag(self, repo_id: str, revision: str) -> Any:
        repo = self.hub.resolve(repo_id, self._user())
        self._writer(repo_id.partition("/")[0])
        name = json.loads(self.body)["tag"]
        if name in repo.tags:
            raise Answer(409, f"Tag reference exists already: {name}")
        repo.tags[name] = repo.at(revision)[0]
        return self._json({})

    def preupload(self, repo_id: str, revision: str) -> Any:
        _, files = self.hub.resolve(repo_id, self._user()).at(revision)
        self._writer(repo_id.partition("/")[0])
        answers = []
        for file in json.loads(self.body)["files"]:
            base64.b64decode(file["sample"], validate=True)
            lfs = self.hub.is_lfs(file["path"], file["size"])
            answer = {
                "path": file["path"],
                "uploadMode": "lfs" if lfs else "regular",
                "shouldIgnore": False,
            }
            if file["path"] in files:
                there = self.hub.entry(file["path"], files[file["path"]])
                answer["oid"] = there["lfs"]["oid"] if "lfs" in there else there["oid"]
            answers.append(answer)
        return self._json({"files": answers})

    def commit(self, repo_id: str, revision: str) -> Any:
        repo = self.hub.resolve(repo_id, self._user())
        self._writer(repo_id.partition("/")[0])
        assert self.headers["Content-Type"] == "application/x-ndjson"
        head, files = repo.at(revision)
        files, header = dict(files), {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
                if value.get("parentCommit", head) != head:
                    raise Answer(412, "A commit has happened since. Please refresh and try again.")
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"], validate=True)
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.storage:
                    raise Answer(400, f"LFS pointer pointed to a file that does not exist: {value}")
                files[value["path"]] = self.hub.storage[value["oid"]]
            elif item["key"] == "deletedFile":
                if value["path"] not in files:
                    raise Answer(404, "A file with this name doesn't exist", "EntryNotFound")
                del files[value["path"]]
            else:
                raise Answer(400, f"no operation {item['key']}")
        oid = repo.commit(files, header["summary"])
        url = f"{self._web(repo_id)}/commit/{oid}"
        return self._json({"success": True, "commitOid": oid, "commitUrl": url})

    def lfs_batch(self, repo_id: str) -> Any:
        self.hub.resolve(repo_id, self._user())
        self._writer(repo_id.partition("/")[0])
        asked = json.loads(self.body)
        assert asked["operation"] == "upload"
        assert asked["hash_algo"] == "sha256"
        objects = []
        for item in asked["objects"]:
            oid, size = item["oid"], item["size"]
            if oid in self.hub.storage:
                objects.append({"oid": oid, "size": size})
                continue
            storage = f"{self.hub.url}/storage/{oid}"
            upload: dict[str, Any] = {"href": f"{storage}?{SIGNATURE}"}
            if self.hub.parts_of and size > self.hub.parts_of:
                upload = {"href": f"{storage}/complete", "header": {}}
                upload["header"]["chunk_size"] = str(self.hub.parts_of)
                for part in range(1, -(-size // self.hub.parts_of) + 1):
                    upload["header"][f"{part:05d}"] = f"{storage}/{part}?{SIGNATURE}"
            verify = {"href": f"{self._web(repo_id)}.git/info/lfs/objects/verify"}
            objects.append(
                {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}
            )
        return self._json({"transfer": "basic", "objects": objects})

    def lfs_verify(self, repo_id: str) -> Any:
        asked = json.loads(self.body)
        if len(self.hub.storage.get(asked["oid"], b"")) != asked["size"]:
            raise Answer(404, "the object is not there")
        return self._json({})

    def store(self, oid: str) -> Any:
        self._signed()
        return self._keep(oid, self.body)

    def store_part(self, oid: str, part: str) -> Any:
        self._signed()
        self.hub.parts.setdefault(oid, {})[int(part)] = self.body
        return 200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'}, b""

    def complete(self, oid: str) -> Any:
        asked = json.loads(self.body)
        parts = self.hub.parts.pop(oid)
        assert [part["partNumber"] for part in asked["parts"]] == sorted(parts)
        return self._keep(oid, b"".join(parts[number] for number in sorted(parts)))

    def _signed(self) -> None:
        if urlsplit(self.path).query != SIGNATURE:
            raise Answer(403, "SignatureDoesNotMatch")
        assert "Authorization" not in self.headers, "the storage is not to see the token"

    def _keep(self, oid: str, content: bytes) -> Any:
        if self.hub.sha256(content) != oid:
            raise Answer(400, "the content is not that of its sha256")
        self.hub.storage[oid] = content
        return 200, {}, b"stored"

    def download(self, repo_id: str, revision: str, path: str) -> Any:
        oid, files = self.hub.resolve(repo_id, self._user()).at(revision)
        if path not in files:
            raise Answer(404, "Entry not found", "EntryNotFound")
        entry = self.hub.entry(path, files[path])
        headers = {"X-Repo-Commit": oid, "ETag": f'"{entry["oid"]}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers["X-Linked-Etag"] = f'"{entry["lfs"]["oid"]}"'
            headers["X-Linked-Size"] = str(entry["size"])
        return 200, {**headers, "Content-Length": str(entry["size"])}, files[path]


class _Nothing:
    """Stands in for the files of a connection that was reset."""

    closed = True

    def flush(self) -> None:
        pass

    close = flush


_ID = r"(?P<repo_id>[^/]+/[^/]+)"
_AT = r"(?P<revision>[^/]+)"
_API = r"/api/(?P<kind>datasets|models)"
_WEB = r"(?P<kind>/datasets)?"
_ROUTES: list[tuple[str, Callable[..., Any]]] = [
    ("GET /api/whoami-v2", _Handler.whoami),
    ("POST /api/repos/create", _Handler.create),
    ("POST /api/validate-yaml", _Handler.validate),
    (f"GET {_API}/{_ID}", _Handler.info),
    (f"GET {_API}/{_ID}/revision/{_AT}", _Handler.info),
    (f"GET {_API}/{_ID}/tree/{_AT}", _Handler.tree),
    (f"POST {_API}/{_ID}/paths-info/{_AT}", _Handler.paths_info),
    (f"GET {_API}/{_ID}/refs", _Handler.refs),
    (f"POST {_API}/{_ID}/tag/{_AT}", _Handler.tag),
    (f"POST {_API}/{_ID}/preupload/{_AT}", _Handler.preupload),
    (f"POST {_API}/{_ID}/commit/{_AT}", _Handler.commit),
    (rf"POST {_WEB}/{_ID}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (rf"POST {_WEB}/{_ID}\.git/info/lfs/objects/verify", _Handler.lfs_verify),
    ("PUT /storage/(?P<oid>[0-9a-f]{64})", _Handler.store),
    ("PUT /storage/(?P<oid>[0-9a-f]{64})/(?P<part>[0-9]+)", _Handler.store_part),
    ("POST /storage/(?P<oid>[0-9a-f]{64})/complete", _Handler.complete),
    (f"(GET|HEAD) {_WEB}/{_ID}/resolve/{_AT}/(?P<path>.+)", _Handler.download),
]


def card_errors(content: str) -> list[str]:
    """What the Hub would say of a card's metadata."""
    match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if not match:
        return ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"the metadata is not YAML: {error}"]
    errors = []
    if data.get("license") not in LICENSES:
        errors.append(f'"license" must be one of {sorted(LICENSES)}')
    if not set(data.get("task_categories", [])) <= TASKS:
        errors.append('"task_categories" holds an unknown task')
    if not set(data.get("size_categories", [])) <= SIZES:
        errors.append('"size_categories" holds an unknown size')
    if not all(re.fullmatch("[a-z]{2,3}", language) for language in data.get("language", [])):
        errors.append('"language" must be ISO 639 codes')
    if not all(isinstance(tag, str) for tag in data.get("tags", [])):
        errors.append('"tags" must be strings')
    errors += _model_errors(data)
    configs = data.get("configs", [])
    names = [config.get("config_name") for config in configs]
    if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        errors.append('"configs" must have names, each once')
    if sum(bool(config.get("default")) for config in configs) > 1:
        errors.append('"configs" must have one default')
    for config in configs:
        for files in config["data_files"]:
            if set(files) != {"split", "path"} or not re.fullmatch(r"\w+", files["split"]):
                errors.append(f'"data_files" of {config["config_name"]} must be splits and paths')
    for info in data.get("dataset_info", []):
        if info.get("config_name") not in names:
            errors.append(f'"dataset_info" of {info.get("config_name")} is of no config')
    return errors


def _model_errors(data: dict[str, Any]) -> list[str]:
    """What the Hub would say of the fields that only a model's card has."""
    errors = []
    bases = data.get("base_model", [])
    for base in [bases] if isinstance(bases, str) else bases:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", base):
            errors.append(f'"base_model" holds {base}, which is not the id of a model')
    if data.get("base_model_relation", "finetune") not in RELATIONS:
        errors.append(f'"base_model_relation" must be one of {sorted(RELATIONS)}')
    if data.get("pipeline_tag", "text-generation") not in TASKS:
        errors.append('"pipeline_tag" is an unknown task')
    for name in data.get("datasets", []):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            errors.append(f'"datasets" holds {name}, which is not the id of a dataset')
    for model in data.get("model-index", []):
        if not isinstance(model.get("name"), str):
            errors.append('"model-index" must have names')
        for result in model.get("results", []):
            if not result["task"].get("type") or not {"name", "type"} <= set(result["dataset"]):
                errors.append('"model-index" must name task and dataset')
            for metric in result["metrics"]:
                if not metric.get("type") or not isinstance(metric.get("value"), int | float):
                    errors.append('"model-index" must have metrics with a type and a value')
    return errors
