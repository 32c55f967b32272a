"""Which network addresses a page may be fetched from, and a transport that goes nowhere else.

A search result, or a redirect on the way, must not make this machine read its own services, its
network's or its cloud's metadata. The name is resolved once, every address it has is checked, and
the connection goes to a checked address: a second, different answer of the name server (DNS
rebinding) is never asked for.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from bb3.core.errors import SearchError

NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the public internet, whatever it is wrapped in."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None or address.teredo is not None:
            return False
        return address in GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


async def checked_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host. Raises SearchError when it has none, or one that is not public.

    All spellings of an address (decimal, octal, hexadecimal, mapped) come out of the resolver as
    the address that would be connected to.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SearchError(f"The host {host!r} cannot be found: {error}.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not allow_private and not is_public(ip_address(address)):
            raise SearchError(
                f"The host {host!r} is at {address}, which is not on the public internet.",
                remedy="Such pages are read only where the fetcher is told to allow it.",
            )
    return addresses


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends each request to a checked address of its host.

    Connections are not kept: one to an address must never serve another host that shares it.
    No proxy is used, since it would do the connecting.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._inner = httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        addresses = await checked_addresses(host, port, allow_private=self._allow_private)
        for last, address in enumerate(addresses, 1 - len(addresses)):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # with the Host of the name
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},  # the certificate's name
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if last == 0:
                    raise
        raise SearchError(f"The host {host!r} has no address.")

    async def aclose(self) -> None:
        await self._inner.aclose()
