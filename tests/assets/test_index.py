from __future__ import annotations

from pathlib import Path

import pytest

from bb3.assets.index import DEFAULT_INDEX, index_config, place, redacted, standard_files
from bb3.core.errors import UsageError


def urls(environ: dict[str, str], *files: Path) -> list[str]:
    return [p.url for p in index_config(environ, files).places]


def test_nothing_configured_means_pypi():
    assert urls({}) == [DEFAULT_INDEX]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PIP_INDEX_URL": "https://a/simple"}, ["https://a/simple"]),
        (
            {"PIP_INDEX_URL": "https://a/s", "PIP_EXTRA_INDEX_URL": "https://b/s  https://c/s"},
            ["https://a/s", "https://b/s", "https://c/s"],
        ),
        ({"PIP_EXTRA_INDEX_URL": "https://b/s"}, [DEFAULT_INDEX, "https://b/s"]),
        ({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}, ["file:///wheels"]),
        ({"PIP_FIND_LINKS": "/w /v"}, ["file:///w", "file:///v", DEFAULT_INDEX]),
        ({"UV_INDEX_URL": "https://u/s"}, ["https://u/s"]),
        ({"UV_DEFAULT_INDEX": "corp=https://u/s?a=b"}, ["https://u/s?a=b"]),
        ({"UV_DEFAULT_INDEX": "https://u/s?a=b"}, ["https://u/s?a=b"]),
        ({"UV_DEFAULT_INDEX": "https://u/s", "PIP_INDEX_URL": "https://p/s"}, ["https://p/s"]),
        ({"UV_INDEX": "x=https://u/s https://v/s"}, [DEFAULT_INDEX, "https://u/s", "https://v/s"]),
        ({"UV_FIND_LINKS": "/w,/v", "PIP_NO_INDEX": "true"}, ["file:///w", "file:///v"]),
        ({"PIP_INDEX_URL": "  "}, [DEFAULT_INDEX]),
        ({"PIP_INDEX_URL": "file:///srv/simple"}, ["file:///srv/simple"]),
        ({"PIP_INDEX_URL": "https://a/s", "PIP_EXTRA_INDEX_URL": "https://a/s"}, ["https://a/s"]),
    ],
)
def test_environment(environ: dict[str, str], expected: list[str]):
    assert urls(environ) == expected


def test_files_in_order_of_importance_then_environment(tmp_path: Path):
    machine, user = tmp_path / "machine.conf", tmp_path / "user.conf"
    machine.write_text("[global]\nindex-url = https://machine/s\ncert = /certs.pem\n")
    user.write_text(
        "[global]\nindex_url = https://user/s\nextra-index-url =\n  https://x/s\n  https://y/s\n"
        "[download]\nextra-index-url = https://z/s\ntrusted-host = z\nproxy = http://p:1\n"
    )
    config = index_config({}, [machine, tmp_path / "absent.conf", user])
    assert [p.url for p in config.places] == ["https://user/s", "https://z/s"]
    assert config.cert == Path("/certs.pem")
    assert config.trusted_hosts == ("z",)
    assert config.proxy == "http://p:1"
    assert urls({"PIP_INDEX_URL": "https://env/s"}, machine, user)[0] == "https://env/s"


def test_standard_places():
    def names(environ: dict[str, str]) -> list[str]:
        return [str(p) for p in standard_files(environ, prefix="/venv", platform="linux")]

    home = {"HOME": "/home/ann"}
    assert names(home) == [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        "/home/ann/.pip/pip.conf",
        "/home/ann/.config/pip/pip.conf",
        "/venv/pip.conf",
    ]
    assert names(home | {"XDG_CONFIG_HOME": "/cfg"})[3] == "/cfg/pip/pip.conf"
    assert names(home | {"PIP_CONFIG_FILE": "/dev/null"}) == []
    assert names(home | {"PIP_CONFIG_FILE": "/no/such/file"})[-1] == "/no/such/file"
    darwin = standard_files(home, prefix="/venv", platform="darwin")
    assert str(darwin[0]).startswith("/Library/Application Support")


def test_a_named_file_switches_the_users_off(tmp_path: Path):
    named = tmp_path / "pip.conf"
    named.touch()
    files = standard_files({"HOME": "/home/ann", "PIP_CONFIG_FILE": str(named)}, prefix="/v")
    assert files[-1] == named
    assert not any("ann" in str(f) for f in files)


@pytest.mark.parametrize("text", ["no section here", "[global\nx", "[global]\nindex-url s3cret pw"])
def test_a_broken_file_is_named_without_its_content(tmp_path: Path, text: str):
    path = tmp_path / "pip.conf"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"pip\.conf") as caught:
        index_config({}, [path])
    assert "pw" not in str(caught.value)


def test_not_text(tmp_path: Path):
    path = tmp_path / "pip.conf"
    path.write_bytes(b"[global]\nindex-url = \xff\xfe")
    with pytest.raises(UsageError, match="UnicodeDecodeError"):
        index_config({}, [path])


def test_credentials_are_split_off_and_never_shown():
    config = index_config({"PIP_INDEX_URL": "https://ann:s3cr%40t@h.example/simple"}, [])
    (where,) = config.places
    assert where.url == "https://h.example/simple"
    assert where.auth == ("ann", "s3cr@t")
    assert "s3cr" not in repr(config)
    assert place("https://token@h/simple").auth == ("token", "")
    assert redacted("https://u:p@h/x.whl?sig=k#f") == "https://h/x.whl"


def test_netrc(tmp_path: Path):
    (tmp_path / ".netrc").write_text("machine h.example login ann password s3cret\n")
    config = index_config(
        {"HOME": str(tmp_path), "PIP_EXTRA_INDEX_URL": "https://h.example/simple"}, []
    )
    assert [p.auth for p in config.places] == [None, ("ann", "s3cret")]
    (tmp_path / ".netrc").write_text("nonsense here")
    assert index_config({"HOME": str(tmp_path)}, []).places[0].auth is None
