"""A stand-in for the Hugging Face hub: the part of its HTTP interface that loading a model needs, over one folder.

The interface is that of its client (huggingface_hub: `hf_api.py`, `file_download.py`): a repository's metadata and tree
as JSON, files with their commit and digest in the headers, errors named in a header.
"""

import hashlib
import json
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def digest(name: str, content: bytes) -> str:
    """What the hub calls a file's content: of weights, which are in LFS, the sha256; of other files git's id."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """A file's entry in the metadata of its repository."""
    if not name.endswith(".safetensors"):
        return {"rfilename": name, "size": len(content), "blobId": digest(name, content)}
    lfs = {"sha256": digest(name, content), "size": len(content), "pointerSize": 134}
    return {"rfilename": name, "size": len(content), "blobId": "0" * 40, "lfs": lfs}


class Hub:
    """Serves `folder` as the repository `name` at one commit until `close`; counts the files that were fetched."""

    def __init__(self, folder: Path, name: str, *, num_parameters: int, slow: float = 0.0) -> None:
        """slow: least seconds that every file of weights takes."""
        self.fetched: Counter[str] = Counter()
        """{file: number of times its content was sent}."""
        self._name, self.slow = name, slow
        self._files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self._num_parameters = num_parameters
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, path: str) -> tuple[dict[str, str], bytes]:
        """(headers, content). Raises KeyError for a path that does not exist."""
        path = path.partition("?")[0].strip("/")
        metadata, files = f"api/models/{self._name}", f"{self._name}/resolve/"
        if path.startswith(f"{metadata}/tree/"):
            contents = self._files.items()
            tree = [{"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in contents]
            return {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if path == metadata or path.startswith(f"{metadata}/revision/"):
            body = {
                "id": self._name,
                "sha": COMMIT,
                "private": False,
                "tags": [],
                "siblings": [_sibling(name, content) for name, content in self._files.items()],
                "safetensors": {"parameters": {"F32": self._num_parameters}, "total": self._num_parameters},
            }
            return {"Content-Type": "application/json"}, json.dumps(body).encode()
        if not path.startswith(files):
            raise KeyError(path)
        name = path.removeprefix(files).partition("/")[2]
        content = self._files[name]
        return {"ETag": f'"{digest(name, content)}"', "X-Repo-Commit": COMMIT}, content

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.respond(with_content=False)

            def do_GET(self) -> None:
                self.respond(with_content=True)

            def respond(self, *, with_content: bool) -> None:
                try:
                    headers, content = hub.respond(self.path)
                except KeyError:
                    headers, content = {"X-Error-Code": "EntryNotFound"}, b""
                self.send_response(200 if content else 404)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_content and content:
                    name = self.path.partition("?")[0].rpartition("/")[2]
                    hub.fetched[name] += "/resolve/" in self.path
                    time.sleep(hub.slow if name.endswith(".safetensors") else 0)
                    self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler
