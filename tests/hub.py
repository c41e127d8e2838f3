"""A stand-in for the Hugging Face hub: the part of its HTTP interface that loading a model needs, over one folder.

As its clients know it (huggingface_hub: `hf_api.py`, `file_download.py`): facts of a repository and its tree as JSON,
files with their commit and digest in the headers, errors named in a header.
"""

import hashlib
import json
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `folder` as the repository `name` at one commit until `close`; counts what was fetched."""

    def __init__(self, folder: Path, name: str, *, num_parameters: int, slow: float = 0.0):
        """slow: seconds that every file of weights takes at least."""
        self.fetched: Counter[str] = Counter()
        """{file: how often its content was sent}."""
        self._name, self._slow = name, slow
        self._files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self._total = num_parameters
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[dict[str, str], bytes]:
        """Headers and content. KeyError for what there is not."""
        path = path.partition("?")[0].strip("/")
        facts, files = f"api/models/{self._name}", f"{self._name}/resolve/"
        if path.startswith(f"{facts}/tree/"):
            listed = [{"type": "file", "path": name, "size": len(one), "oid": "0"} for name, one in self._files.items()]
            return {"Content-Type": "application/json"}, json.dumps(listed).encode()
        if path == facts or path.startswith(f"{facts}/revision/"):
            siblings = [{"rfilename": name} for name in self._files]
            told = {"id": self._name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            told["safetensors"] = {"parameters": {"F32": self._total}, "total": self._total}
            return {"Content-Type": "application/json"}, json.dumps(told).encode()
        if not path.startswith(files):
            raise KeyError(path)
        name = path.removeprefix(files).partition("/")[2]
        content = self._files[name]
        return {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.respond(with_content=False)

            def do_GET(self):
                self.respond(with_content=True)

            def respond(self, *, with_content: bool) -> None:
                try:
                    headers, content = hub.answer(self.path)
                except KeyError:
                    headers, content = {"X-Error-Code": "EntryNotFound"}, b""
                self.send_response(200 if content else 404)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_content and content:
                    name = self.path.partition("?")[0].rpartition("/")[2]
                    hub.fetched[name] += "/resolve/" in self.path
                    time.sleep(hub._slow if name.endswith(".safetensors") else 0)
                    self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        return Handler
