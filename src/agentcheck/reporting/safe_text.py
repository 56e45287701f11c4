"""Text that an agent, a tool or a dataset wrote, made harmless for the place where it is shown.

Nothing is dropped: what could act on a reader's terminal, browser, spreadsheet or file system is replaced by a
visible spelling (``\\x1b``, ``\\u202e``), so that an attempt is seen. One function per medium; HTML has Jinja2's
autoescape on top of `visible`. Every report passes outside text through exactly one of these.

Sources: ECMA-48 (control functions, C0 and C1), Unicode UAX #9 (bidirectional controls) and UTS #39 (invisible
characters), XML 1.0 section 2.2 (Char), CommonMark 0.31 section 2.5 (entities cannot be structure), OWASP "CSV
Injection", Microsoft "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from typing import Any

#: Controls except tab and newline, format and invisible characters, line separators, surrogates, noncharacters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]"
)
#: Punctuation that CommonMark or GitHub can read as structure in the middle of a line.
_MARKDOWN = re.compile(r"""[!"#$&'()*+.:<=>@\[\\\]^_`{|}~]""")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|clock|conin|conout|com[0-9]|lpt[0-9])(\.|$)")
_NAME_LENGTH = 80


def _spelling(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str) -> str:
    """Text with every control, invisible and direction-changing character spelled out; tab and newline stay.

    Harmless in a terminal (no ESC, CSI, OSC, carriage return) and legal in XML 1.0 and UTF-8 (no lone surrogates).
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(_spelling, text)


def line(text: str) -> str:
    """`visible` on one line: newlines and tabs are spelled out too, so that text cannot fake a line of its own."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters of the text; what is left out is counted, never dropped in silence."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def markdown(text: str) -> str:
    """Text inline in GitHub Markdown: no emphasis, link, image, HTML, table border or @mention can come from it.

    Punctuation becomes entities, which CommonMark never reads as structure; the ``code`` element keeps GitHub from
    making mentions, issue references, commits and emoji of it.
    """
    return f"<code>{_MARKDOWN.sub(lambda found: f'&#{ord(found.group())};', line(text))}</code>"


def markdown_block(text: str) -> str:
    """Text as a preformatted block in GitHub Markdown; nothing in it can end the block or begin another.

    Line breaks are entities too: the block is one line of Markdown, so no line of the text is read as one.
    """
    escaped = html.escape(visible(text)).replace("@", "&#64;").replace("\n", "&#10;")
    return f"<pre>{escaped}</pre>"


def cell(value: Any) -> Any:
    """A value for a spreadsheet: text that a program would take for a formula gets a leading apostrophe.

    Text stays on one line, because careless importers start a new cell at a newline. Numbers, booleans and ``None``
    are given back as they are.
    """
    if not isinstance(value, str):
        return value
    shown = line(value)
    if value.lstrip(" \n\x0b\x0c\xa0\u200b\ufeff").startswith(_FORMULA):
        return f"'{shown}"
    return shown


def file_name(text: str) -> str:
    """One portable file name: no separators, no reserved device names, at most 80 characters.

    A name that had to change ends in a hash of the original, so that two of them cannot fall together.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    safe = re.sub(r"\.{2,}", ".", safe).strip(".-")
    if safe == text and safe and len(safe) <= _NAME_LENGTH and not _RESERVED.match(safe):
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    stem = safe[: _NAME_LENGTH - 12].rstrip(".-") or "unnamed"
    if _RESERVED.match(stem):
        stem = f"_{stem}"
    return f"{stem}-{digest}"


def script_json(value: Any) -> str:
    """JSON to embed in a ``script`` element: pure ASCII, and free of ``<``, ``>`` and ``&``, so nothing can end it.

    Raises:
        ValueError: NaN or an infinity.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
