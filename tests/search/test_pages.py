"""Bytes into text and pages into titles, whatever is sent. (More in test_fetch.py.)"""

from __future__ import annotations

import time

import pytest

from bb3.search.brave import plain
from bb3.search.pages import decode_page, extract

PAGE = f"<html><body><p>{'Some text of a page. ' * 30}</p></body></html>"


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title>A &amp; B</title>", "A & B"),
        ("<TITLE lang='en'\n>\nA\nB</TITLE>", "A B"),
        ("<title></title>", ""),
        ("", ""),
    ],
)
def test_titles(head: str, title: str) -> None:
    assert extract(f"<html><head>{head}</head>{PAGE[6:]}")[0] == title


@pytest.mark.parametrize(
    "tail",
    ["<title" * 330_000, "<title " * 280_000, "<" * 2_000_000, " " * 2_000_000, "&" * 2_000_000],
    ids=lambda tail: repr(tail[:7]),
)
def test_hostile_pages_take_no_time(tail: str) -> None:
    begun = time.monotonic()
    assert "Some text" in extract(PAGE + tail)[1]
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "body",
    [
        b"<meta" * 30 + b"charset=" + b" " * 3900 + b".",
        b"<meta charset=punycode>" + b"a" * 1000 + b"-" + b"b" * 2_000_000,
    ],
)
def test_hostile_charsets_take_no_time(body: bytes) -> None:
    begun = time.monotonic()
    assert decode_page(body, None) == body.decode()
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    "text", ["<a" * 500_000, "<" + "a" * 1_000_000, "</a" * 300_000, "&#" + "9" * 1_000_000 + ";"]
)
def test_hostile_snippets_take_no_time(text: str) -> None:
    begun = time.monotonic()
    assert plain(f"<b>Jazz</b> &amp; {text}").startswith("Jazz & ")
    assert time.monotonic() - begun < 1
