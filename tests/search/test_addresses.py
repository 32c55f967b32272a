"""Which addresses pages may come from."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from bb3.core.errors import SearchError
from bb3.search import addresses
from bb3.search.addresses import checked_addresses, is_public

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata of a cloud
    "169.254.169.254",  # of the others
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fe80::1",
    "fe80::1%1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "::1"]
)
async def test_all_spellings_of_loopback_are_refused(host: str) -> None:
    with pytest.raises(SearchError, match=r"not on the public internet|cannot be found"):
        await checked_addresses(host, 80, allow_private=False)


async def test_one_private_address_among_public_ones_refuses_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("8.8.8.8", "10.0.0.1")
        ]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    with pytest.raises(SearchError, match=r"at 10\.0\.0\.1"):
        await checked_addresses("both.example", 80, allow_private=False)


async def test_unknown_hosts() -> None:
    for host in ("no-such-host.invalid", "x" * 300, "a..b"):
        with pytest.raises(SearchError, match="cannot be found"):
            await checked_addresses(host, 80, allow_private=False)
