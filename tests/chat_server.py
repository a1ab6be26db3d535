"""A real local HTTP server that answers POST requests as a test says: for the clients of language models."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], str]
"""Status (0 hangs up), headers, content."""
Request = tuple[str, dict[str, str], dict[str, Any]]
"""Path, headers, body."""


@contextmanager
def serving(answer: Callable[[Request], Reply]) -> Iterator[str]:
    """The address to give as base_url. answer: is called in a thread of each request's own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, content = answer((self.path, dict(self.headers), body))
            if status == 0:
                return  # hang up
            with suppress(ConnectionError):  # the client did not wait
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content.encode())), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Patient(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64  # of five, which is the default, a burst's last callers wait for a second

    server = Patient(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()
