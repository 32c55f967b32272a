"""Pages and files into text: which characters the bytes stand for, and what of HTML is the text."""

from __future__ import annotations

import codecs
import html as entities
import re

import trafilatura

from bb3.core.errors import SearchError

META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*+=\s*+[\"']?\s*+([\w-]{1,40})", re.IGNORECASE
)
META_WITHIN = 4096
"""How far into a page its charset may be declared (the standard says 1024 bytes)."""
TITLE = re.compile(r"<title[^<>]*>([^<]{0,500})", re.IGNORECASE)

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def bom_encoding(body: bytes) -> str | None:
    """The encoding that a byte order mark announces."""
    return next((name for mark, name in BOMS if body.startswith(mark)), None)


def decode_page(body: bytes, charset: str | None) -> str:
    """The text of a page: by its byte order mark, the server's word, its own word, or UTF-8;
    what none of these can read is taken for Windows-1252, as browsers do.
    """
    declared = META_CHARSET.search(body, 0, META_WITHIN)
    own = declared.group(1).decode("ascii", "replace") if declared else None
    for name in (bom_encoding(body), charset, own, "utf-8"):
        if name is None or not is_text_encoding(name):
            continue
        try:
            return body.decode(name)
        except UnicodeError:
            continue
    return body.decode("cp1252", "replace")


def is_text_encoding(name: str) -> bool:
    """Whether Python knows an encoding of pages by this name (``zlib`` is one of bytes; that of
    host names, ``punycode``, takes minutes for a page)."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    return bool(codec._is_text_encoding) and codec.name != "punycode"


def extract(html: str, url: str = "") -> tuple[str, str]:
    """Title and main text of a page, without menus, advertisements and scripts.

    Raises SearchError when the page cannot be parsed or has no text.
    """
    try:
        found = trafilatura.bare_extraction(
            html, url=url or None, include_comments=False, include_tables=True, favor_recall=True
        )
    except Exception as error:  # hostile pages can break a parser in any way
        raise SearchError(f"The page {url or '(local)'} cannot be parsed: {error!r}.") from error
    text = getattr(found, "text", None) or ""
    if not text.strip():
        raise SearchError(f"The page {url or '(local)'} has no text.")
    named = TITLE.search(html)
    title = getattr(found, "title", None) or entities.unescape(named.group(1) if named else "")
    return " ".join(title.split()), text.strip()
