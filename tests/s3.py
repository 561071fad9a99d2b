"""A real S3 API for tests: moto's, over HTTP on 127.0.0.1, with faults that a test can switch on.

Clients find it through environment variables alone, so Ray workers and other programs that a test starts use it too.
"""

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import fsspec
import pytest
from moto.moto_api._internal.models import moto_api_backend
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

_ANSWERS = {"500": ("500 Internal Server Error", "InternalError"), "503": ("503 Service Unavailable", "SlowDown")}


@dataclass
class Faults:
    """What goes wrong, for every client of the server; change it at any time, from any thread.

    every: every Nth request fails, though never the same one three times in a row, for no client repeats for ever
    (0: none fails; 1: all do, without end). kind: "500"; "503" (SlowDown); "reset", the connection is reset before
    anything is done; "cut", the request is carried out and the connection closed in the middle of the answer, or
    before it where the answer has no body. methods: which requests fail and are counted for `every`; empty: all.
    delay_s: seconds before each request is looked at. drip_bytes, drip_s: bodies leave in pieces of so many bytes with
    so many seconds between them.
    """

    every: int = 0
    kind: str = "500"
    methods: tuple[str, ...] = ()
    delay_s: float = 0.0
    drip_bytes: int = 0
    drip_s: float = 0.0


@dataclass
class S3:
    """The server as a test sees it. requests: by method, as they came in; failed: how many of them by kind of fault."""

    endpoint: str
    faults: Faults = field(default_factory=Faults)
    requests: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)

    def url(self, bucket: str, key: str = "") -> str:
        """The URL of an object, or of a bucket."""
        return f"s3://{bucket}/{key}".rstrip("/")

    def bucket(self, name: str) -> str:
        """Create a bucket; its URL."""
        fsspec.filesystem("s3").mkdir(name)
        return self.url(name)

    def environment(self) -> dict[str, str]:
        """What a client needs to know, and nothing of whoever runs the tests."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "no_proxy": "127.0.0.1",
        }


class _Faulty:
    """A WSGI application in front of moto's that counts requests and fails some."""

    def __init__(self, app: DomainDispatcherApplication) -> None:
        self.app, self.s3, self.seen, self.in_a_row = app, S3(""), 0, Counter()
        self.counting, self.conditional = threading.Lock(), threading.Lock()

    def __call__(self, environ, start_response) -> Iterable[bytes]:
        faults = self.s3.faults
        time.sleep(faults.delay_s)
        kind = self._fault(faults, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if kind == "reset":
            _reset(environ["werkzeug.socket"])
        if kind in _ANSWERS:
            status, code = _ANSWERS[kind]
            body = f"<Error><Code>{code}</Code><Message>a test wants it so</Message></Error>".encode()
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
        body = self._carry_out(environ, start_response)
        if kind == "cut":
            return _cut(body)
        return _drip(body, faults) if faults.drip_bytes else [body]

    def _fault(self, faults: Faults, method: str, path: str) -> str:
        with self.counting:
            self.s3.requests[method] += 1
            if not faults.every or faults.methods and method not in faults.methods:
                return ""
            self.seen += 1
            if self.seen % faults.every or faults.every > 1 and self.in_a_row[method, path] == 2:
                self.in_a_row[method, path] = 0
                return ""
            self.in_a_row[method, path] += 1
            self.s3.failed[faults.kind] += 1
            return faults.kind

    def _carry_out(self, environ, start_response) -> bytes:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return b"".join(self.app(environ, start_response))
        with self.conditional:  # S3 looks and writes in one step; moto in two, between which another thread may write
            return b"".join(self.app(environ, start_response))


def _cut(body: bytes) -> Iterator[bytes]:
    if body:
        yield body[: len(body) // 2]
    raise ConnectionAbortedError


def _drip(body: bytes, faults: Faults) -> Iterator[bytes]:
    for at in range(0, len(body), faults.drip_bytes):
        yield body[at : at + faults.drip_bytes]
        time.sleep(faults.drip_s)


def _reset(connection: socket.socket) -> NoReturn:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # close() waits for the files that the server has made of the socket
    raise ConnectionResetError


class _Handler(MotoRequestHandler):
    def connection_dropped(self, error: BaseException, environ: dict | None = None) -> None:
        """What `_cut` and `_reset` raise ends here: no further request is read."""
        self.close_connection = True

    def log(self, type: str, message: str, *args: object) -> None:
        """Write no line for each request."""


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An S3 without buckets on a free port, and the environment that leads there."""
    moto_api_backend.reset()  # moto keeps one state for the process
    app = _Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    app.s3.endpoint = f"http://127.0.0.1:{server.port}"
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    for name, value in app.s3.environment().items():
        monkeypatch.setenv(name, value)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _forget_clients()
    try:
        yield app.s3
    finally:
        _forget_clients()
        server.shutdown()
        thread.join()
        server.server_close()


def _forget_clients() -> None:
    """fsspec keeps one client per process, with the endpoint it found when it was made."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
