"""Where this agentcheck was installed from, as pip would take it from there again (PEP 610)."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from agentcheck.errors import DISTRIBUTION

#: What another machine can fetch. A folder, and an archive on this disk, are no source for it.
REMOTE = ("https", "http", "ssh")


def requirement() -> str:
    """What another machine hands to pip to have the agentcheck that runs here; empty where no machine but this has it.

    Installed from version control, the commit is named; from an archive, its address and hash; from an index, the
    version. An installation from a folder or a file of this machine, or none at all, gives the empty text.
    """
    try:
        distribution = metadata.distribution(DISTRIBUTION)
        origin = distribution.read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ""
    if origin is None:
        return f"{DISTRIBUTION}=={distribution.version}"
    try:
        return _from(json.loads(origin))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""  # not as PEP 610 has it: nothing that could be relied on


def _from(origin: dict[str, Any]) -> str:
    parts = urlsplit(origin["url"])
    if parts.scheme not in REMOTE:
        return ""
    if parts.password is not None:  # a secret is never written into a file
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    url = urlunsplit(parts._replace(fragment=""))
    fragment = [f"subdirectory={origin['subdirectory']}"] if origin.get("subdirectory") else []
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    elif "archive_info" in origin:
        sha256 = origin["archive_info"].get("hashes", {}).get("sha256")
        fragment += [f"sha256={sha256}"] if sha256 else []
    else:
        return ""
    return f"{DISTRIBUTION} @ {url}{'#' if fragment else ''}{'&'.join(fragment)}"
