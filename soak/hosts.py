"""The EHR's side as a process of its own: a FHIR server and a host of keys over plain HTTP (the proxy adds TLS).

`python -m soak.hosts PORT FOLDER` answers `/fhir/…` from FOLDER/chart.json, and `/jwks` with what FOLDER/jwks.json
holds by then.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from soak.certificates import HERE
from soak.chart import MARK, answer


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    resources = msgspec.json.decode((folder / "chart.json").read_bytes())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20  # head and body leave in one piece
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            """A resource, a search, or the keys."""
            if self.path == "/jwks":
                self._reply(200, (folder / "jwks.json").read_bytes())
            elif not self.headers.get("Authorization", "").startswith(f"Bearer {MARK}"):
                self._reply(401, b"{}")
            else:
                body = answer(resources, self.path.removeprefix("/fhir/"))
                self._reply(200 if body else 404, body or b"{}")

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Nothing: what is asked for names patients."""

    return Handler


if __name__ == "__main__":
    with _Server((HERE, int(sys.argv[1])), _handler(Path(sys.argv[2]))) as server:
        server.serve_forever()
