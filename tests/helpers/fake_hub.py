"""A model hub on loopback: the few endpoints of Hugging Face that huggingface_hub asks for when it fetches a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Models by id, and what was asked of the server."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: set[str] = field(default_factory=set)
    status: int = 200  # another one: the answer to everything
    cut_after: dict[str, int] = field(default_factory=dict)  # file name -> bytes after which the connection breaks
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line}


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Runs the hub on a free port while the body runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} {path}")
            if hub.status != 200:
                return self.reply(hub.status, b"busy")
            parts = path.split("/")
            if parts[:2] == ["api", "models"] and len(parts) >= 4:
                return self.answer_api("/".join(parts[2:4]), parts[4:])
            if len(parts) >= 5 and parts[2] == "resolve":
                return self.answer_file("/".join(parts[:2]), "/".join(parts[4:]))
            return self.reply(404, b"")

        def answer_api(self, model_id: str, rest: list[str]) -> None:
            if model_id not in hub.models:
                return self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            files = hub.models[model_id]
            revision = "/".join(rest[1:]) or "main"
            commit = hub.revisions.get(revision, revision if revision in hub.revisions.values() else "")
            if not commit:
                return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            if rest[:1] == ["tree"]:
                entries = [{"type": "file", "path": n, "size": len(d), "oid": _oid(d)} for n, d in files.items()]
                return self.reply(200, json.dumps(entries).encode())
            siblings = [{"rfilename": name, "size": len(data), "blobId": _oid(data)} for name, data in files.items()]
            info = {
                "id": model_id,
                "modelId": model_id,
                "sha": commit,
                "siblings": siblings,
                "tags": [],
                "private": False,
            }
            return self.reply(200, json.dumps(info).encode())

        def answer_file(self, model_id: str, name: str) -> None:
            if model_id in hub.gated:
                return self.reply(403, b"", {"X-Error-Code": "GatedRepo"})
            data = hub.models.get(model_id, {}).get(name)
            if data is None:
                return self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            start = self.headers.get("Range")
            if start and self.command == "GET":
                offset = int(start.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {offset}-{len(data) - 1}/{len(data)}"
                return self.reply(206, data[offset:], headers, hub.cut_after.get(name))
            return self.reply(200, data, headers, hub.cut_after.get(name))

        def reply(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, cut_after: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if cut_after is not None:
                body = body[:cut_after]
                self.close_connection = True
            self.wfile.write(body)

    return Handler


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
