"""A store on each database: SQLite always, PostgreSQL where its programs are installed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from bb3.store import SqlStore, open_store

_numbers = count(1)


def _postgres_bin() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        folders.insert(0, Path(found).resolve().parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a private cluster on the loopback, ended with the tests; the database is left out."""
    psycopg = pytest.importorskip("psycopg")
    folder = _postgres_bin()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    home = Path(tempfile.mkdtemp(prefix="bb3-pg-"))
    data, password = home / "data", secrets.token_hex(8)
    (home / "pw").write_text(password)
    if user:
        shutil.chown(home, user)
        shutil.chown(home / "pw", user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    init = ("-A", "scram-sha-256", "-U", "bb3", "--encoding=UTF8", "--locale=C", "--no-sync")
    options = ("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(home))
    base = f"postgresql://bb3:{password}@127.0.0.1:{port}"
    server = None
    try:
        done = subprocess.run(
            [folder / "initdb", "-D", data, *init, f"--pwfile={home / 'pw'}"],
            user=user,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with (home / "log").open("wb") as log:
            command = [folder / "postgres", "-D", data, "-p", str(port), *options]
            server = subprocess.Popen(command, user=user, cwd=home, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(base + "/postgres", connect_timeout=5).close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None, (home / "log").read_text()
                assert time.monotonic() < end, (home / "log").read_text()
                time.sleep(0.1)
        yield base
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once, without a last checkpoint
            server.wait(30)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """URL of a fresh, empty PostgreSQL database."""
    psycopg = pytest.importorskip("psycopg")
    name = f"bb3_{next(_numbers)}"
    with psycopg.connect(postgres_server + "/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return f"{postgres_server}/{name}".replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What ``open_store`` takes: a fresh, empty database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "bb3.db")
    url: str = request.getfixturevalue("postgres")
    return url


@pytest.fixture
async def store(where: str) -> AsyncIterator[SqlStore]:
    store = await open_store(where)
    yield store
    await store.aclose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode != 0:
        pytest.skip("mounting a small disk takes privileges")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
