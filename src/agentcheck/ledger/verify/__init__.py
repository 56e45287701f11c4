"""Check a ledger by re-deriving it. This folder needs Python's standard library and nothing else.

It shares no code with what wrote the ledger, so that somebody who does not trust that can run this folder alone::

    python verify reports/20250101-120000-ab12          # a run: all *.db files in the folder
    python verify ledger-gw0.db                         # one file
    python verify RUN --checkpoint CHECKPOINTS --keys trusted-keys.txt
    python verify --event EVENT --proof EVENT.tlog-proof --keys trusted-keys.txt

Exit status: 0 consistent, 1 inconsistent (the first bad sequence number is named) or not what was asked for, 4 the
path cannot be used.

For every stream, row by row:

1. The sequence numbers count from 1 without gaps.
2. ``leaf = SHA256(0x00 || bytes)`` and ``chain_n = SHA256(0x02 || chain_{n-1} || leaf_n)`` give the stored chain
   value, starting from ``SHA256("agentcheck/ledger/v1\\n" + stream)``. A withheld event left its leaf.
3. The first event is ``run.started`` (of a stream of custody: ``custody.opened``), and says it is.
4. Streams that another stream names are there and have, at the named size, the named chain value.
5. Every withheld event is named by a tombstone in a stream of custody.
6. Every checkpoint that is given is signed by a key that is trusted for its origin, and the root of the tree over the
   first ``size`` leaves (RFC 9162, section 2.1) is the one that was signed.
7. With ``--events``: the bytes of each event are in canonical form and say that they are this event of this stream,
   nothing follows the end; actions that were allowed or started, and have no result, are counted.

Counted as exceptions, not as corruption: streams that do not end in good order, actions without a result, withheld
events, events after the last checkpoint. Memory does not grow with the number of events.
"""

from .command import LIMITS, UnusablePath, answer, describe, main, read_notes, read_trust, verify
from .notes import Trust, Unusable, parse_trust
from .run import CONSISTENT, INCONSISTENT, WITH_CHECKPOINT, WITNESSED, Note, Problem, Result, verify_sources
from .sqlite import SqliteSource
from .stream import Source, Stream

__all__ = [
    "CONSISTENT",
    "INCONSISTENT",
    "LIMITS",
    "WITH_CHECKPOINT",
    "WITNESSED",
    "Note",
    "Problem",
    "Result",
    "Source",
    "SqliteSource",
    "Stream",
    "Trust",
    "Unusable",
    "UnusablePath",
    "answer",
    "describe",
    "main",
    "parse_trust",
    "read_notes",
    "read_trust",
    "verify",
    "verify_sources",
]
