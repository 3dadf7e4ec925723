"""An HTTP server on the loopback interface with faults to order."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `content` at every path that no fault is set for.

    Attributes:
        content: bytes of the file.
        requests: (path, Range header) of each request.
        cut: number of bytes after which the connection ends, for each of the next answers.
        codes: status codes of the next answers.
        redirect: address to redirect to, by path.
        pause: seconds between pieces of 1 kB.
        ranges: whether partial requests are answered.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.requests: list[tuple[str, str]] = []
        self.cut: list[int] = []
        self.codes: list[int] = []
        self.redirect: dict[str, str] = {}
        self.pause = 0.0
        self.ranges = True

    def handle_error(self, *_: object) -> None:
        """Clients that are killed close their connections."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def version(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range", "")
        server.requests.append((self.path, asked))
        if self.path in server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect[self.path])
            return self.end_headers()
        if server.codes:
            self.send_response(server.codes.pop(0))
            return self.end_headers()
        self._send(asked)

    def do_HEAD(self) -> None:
        """As the model hub answers before a download."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.send_header("ETag", self.server.version)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()

    def _send(self, asked: str) -> None:
        server, start, total = self.server, 0, len(self.server.content)
        same = self.headers.get("If-Range") == server.version
        if server.ranges and asked and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= total > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.send_header("ETag", server.version)
        self.end_headers()
        end = start + server.cut.pop(0) if server.cut else total
        for i in range(start, min(end, total), 1024):
            self.wfile.write(server.content[i : min(i + 1024, end)])
            time.sleep(server.pause)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(content: bytes) -> Iterator[FileServer]:
    """A running server."""
    server = FileServer(content)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
