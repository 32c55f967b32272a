"""Which package index the user has: pip's and uv's own configuration, read without either.

Pure functions: ``app`` hands in the environment. Credentials are split off the addresses at
once, so that no message, log line or ``repr`` can show them.
"""

from __future__ import annotations

import configparser
import netrc
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from bb3.core.errors import UsageError

DEFAULT_INDEX = "https://pypi.org/simple"
TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where packages are looked for: an index (PEP 503/691), or a folder or page of links.

    Attributes:
        url: without credentials; a folder is a ``file://`` address.
        links: a ``find-links`` place: the page or folder itself lists the files.
        auth: user and password.
    """

    url: str
    links: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def folder(self) -> Path | None:
        """The local folder it is, None for a place on the net."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """The places in the order they are asked, and how to reach them.

    Attributes:
        cert: a file of trusted certificates, None: the system's own.
        proxy: for all addresses; None: as the environment says.
        trusted_hosts: hosts whose certificate is not checked (what is pulled still is, by hash).
    """

    places: tuple[Place, ...] = (Place(DEFAULT_INDEX),)
    cert: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    trusted_hosts: tuple[str, ...] = ()


def place(address: str, *, links: bool = False) -> Place:
    """A place from what a user wrote: an address, perhaps with credentials, or a folder."""
    address = address.strip()
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "file"):
        return Place(Path(address).expanduser().absolute().as_uri(), links=links)
    if parts.scheme == "file" or parts.username is None:
        return Place(address, links=links)
    clean = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Place(clean, links=links, auth=(unquote(parts.username), unquote(parts.password or "")))


def redacted(url: str) -> str:
    """An address fit for a message: no credentials, no query, no fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def index_config(environ: Mapping[str, str], files: Sequence[Path] | None = None) -> IndexConfig:
    """What pip and uv would use, in this order: find-links, the main index, the extra ones.

    pip's setting of the main index wins over uv's; with neither it is PyPI.

    Args:
        environ: the environment.
        files: pip's configuration files, least important first; None: the standard ones.

    Raises:
        UsageError: a configuration file that exists cannot be read.
    """
    values: dict[str, str] = {}
    for path in standard_files(environ) if files is None else files:
        values |= _pip_file(path)
    for name in ("index-url", "extra-index-url", "find-links", "no-index", "cert", "proxy",
                 "trusted-host"):  # fmt: skip
        if given := environ.get("PIP_" + name.upper().replace("-", "_"), "").strip():
            values[name] = given

    uv_default = _uv_indexes(environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL", ""))
    uv_extra = _uv_indexes(
        environ.get("UV_INDEX", "") + " " + environ.get("UV_EXTRA_INDEX_URL", "")
    )
    uv_links = environ.get("UV_FIND_LINKS", "").replace(",", " ").split()

    main = [values["index-url"]] if "index-url" in values else uv_default or [DEFAULT_INDEX]
    indexes = [*main, *values.get("extra-index-url", "").split(), *uv_extra]
    if values.get("no-index", "").lower() in TRUE:
        indexes = []
    links = [*values.get("find-links", "").split(), *uv_links]
    places = [place(address, links=True) for address in links]
    places += [place(address) for address in indexes]
    logins = _netrc(environ)
    return IndexConfig(
        places=tuple(dict.fromkeys(_with_login(p, logins) for p in places)),
        cert=Path(values["cert"]).expanduser() if "cert" in values else None,
        proxy=values.get("proxy"),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
    )


def standard_files(
    environ: Mapping[str, str], *, prefix: str = sys.prefix, platform: str = sys.platform
) -> list[Path]:
    """The configuration files of pip, least important first (they need not exist).

    Source: pip's documentation, "Configuration Files": machine, user (old and new place),
    environment, then ``PIP_CONFIG_FILE``, which also switches the user's off when it exists;
    set to the null device it switches all off.
    """
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == "/dev/null" or named.lower() == "nul":
        return []
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or "/nonexistent")
    if platform == "win32":
        machine = [Path(environ.get("PROGRAMDATA", "C:/ProgramData")) / "pip" / "pip.ini"]
        user = [home / "pip" / "pip.ini", Path(environ.get("APPDATA", home)) / "pip" / "pip.ini"]
        site = Path(prefix) / "pip.ini"
    else:
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        if platform == "darwin":
            machine = [Path("/Library/Application Support/pip/pip.conf")]
            support = home / "Library" / "Application Support" / "pip"
            config = support.parent if support.is_dir() else config
        else:
            shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
            machine = [Path(folder) / "pip" / "pip.conf" for folder in reversed(shared) if folder]
            machine.append(Path("/etc/pip.conf"))
        user = [home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
        site = Path(prefix) / "pip.conf"
    if named:
        path = Path(named).expanduser()
        return [*machine, *([] if path.exists() else user), site, path]
    return [*machine, *user, site]


def _pip_file(path: Path) -> dict[str, str]:
    """The ``[global]`` values of a pip configuration file, overlaid by ``[download]``'s."""
    parser = configparser.RawConfigParser()
    try:
        text = path.read_text(encoding="utf-8")
        parser.read_string(text, source=str(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        # The parser's own message quotes the line, which may hold a password.
        raise UsageError(
            f"pip's configuration file {path} cannot be read ({type(error).__name__}).",
            remedy="Mend it, or set PIP_CONFIG_FILE to another.",
        ) from None
    values: dict[str, str] = {}
    for section in ("global", "install", "download"):
        if parser.has_section(section):
            values |= {k.replace("_", "-"): v for k, v in parser.items(section) if v}
    return values


def _uv_indexes(text: str) -> list[str]:
    """A list of uv: separated by blanks, each perhaps ``name=address``."""
    found = []
    for item in text.split():
        name, equals, address = item.partition("=")
        found.append(address if equals and "/" not in name and ":" not in name else item)
    return found


def _netrc(environ: Mapping[str, str]) -> netrc.netrc | None:
    home = environ.get("HOME") or environ.get("USERPROFILE")
    path = environ.get("NETRC") or (f"{home}/.netrc" if home else "")
    try:
        return netrc.netrc(path) if path else None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None  # as pip and curl do: a file that cannot be read holds no logins


def _with_login(where: Place, logins: netrc.netrc | None) -> Place:
    if where.auth is not None or logins is None or not where.host:
        return where
    found = logins.authenticators(where.host)
    return Place(where.url, where.links, (found[0], found[2] or "")) if found else where
