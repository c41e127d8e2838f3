"""A proxy in front of a real tracking server, in this process, that a test can make answer otherwise.

As gateways do, it may lose an answer, show a login page or belong to another service.
"""

import http.client
import http.server
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Call(NamedTuple):
    """A request that has arrived."""

    method: str
    path: str
    """With its query."""
    body: bytes
    headers: Mapping[str, str]


class Reply(NamedTuple):
    """An answer in place of the server's."""

    status: int
    body: bytes
    headers: Mapping[str, str]


LOSE_ANSWER = "the server gets the request, and its answer is lost"
DROP = "the connection is closed"
PAGE = b"<!DOCTYPE html>\n<html><body><form>Please log in</form></body></html>"

Rule = Callable[[Call], Reply | str | None]
"""What is done with a request; None = it is passed on."""


def reply(status: int, body: bytes, kind: str = "text/html", **headers: str) -> Reply:
    """An answer with the right length, unless the headers say another."""
    return Reply(status, body, {"Content-Type": kind, "Content-Length": str(len(body)), **headers})


LOGIN_PAGE = reply(200, PAGE)


class Proxy:
    """A proxy on a free port of this machine, from `with` to its end."""

    def __init__(self, upstream: str) -> None:
        self.rule: Rule = lambda call: None
        self.calls: list[Call] = []
        """Every request so far."""
        proxy, host = self, urlsplit(upstream).netloc

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = Call(self.command, self.path, body, dict(self.headers))
                proxy.calls.append(call)
                done = proxy.rule(call)
                if not isinstance(done, Reply) and done != DROP:
                    passed_on = self._pass_on(host, body)
                    done = done or passed_on
                if isinstance(done, Reply):
                    self.send_response(done.status)
                    for name, value in done.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(done.body)
                if not isinstance(done, Reply) or done.headers.get("Content-Length") != str(len(done.body)):
                    self.close_connection = True

            def _pass_on(self, host: str, body: bytes) -> Reply:
                connection = http.client.HTTPConnection(host, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                return reply(answer.status, content, answer.headers.get("Content-Type", ""))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
