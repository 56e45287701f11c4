"""BM25 over the documents of a case, for the tool ``search_documents``.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the non-negative inverse
document frequency ``log(1 + (N - n + 0.5) / (n + 0.5))``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from agentcheck.records import Document

#: Saturation of a repeated term, and how much a long document is held back.
K1, B = 1.2, 0.75
#: A title says what a document is about: its words count this often.
TITLE_WEIGHT = 2

_WORD = re.compile(r"[a-z0-9]+(?:[-./][a-z0-9]+)*")
_IDLE_WORDS = (
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is "
    "it its me my no not of on or our please she should so than that the their them then there these they this to "
    "up us was we were what when where which who whom whose why will with would you your"
)
_IDLE = frozenset(_IDLE_WORDS.split())


def terms(text: str) -> Iterator[str]:
    """Words and identifiers in lower case, without plural endings and words that carry no topic."""
    for word in _WORD.findall(text.lower()):
        if word not in _IDLE:
            yield word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


class Index:
    """An index over a few documents; build it once a trial."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = tuple(documents)
        self._counts = [
            Counter([*terms(document.text), *(list(terms(document.title)) * TITLE_WEIGHT)])
            for document in self.documents
        ]
        lengths = [sum(counts.values()) for counts in self._counts]
        mean = sum(lengths) / len(lengths) if lengths else 0.0
        self._norms = [K1 * (1 - B + B * length / mean) if mean else K1 for length in lengths]
        holders = Counter(term for counts in self._counts for term in counts)
        total = len(self.documents)
        self._idf = {term: math.log(1 + (total - n + 0.5) / (n + 0.5)) for term, n in holders.items()}

    def search(self, query: str, limit: int = 4) -> list[tuple[Document, float]]:
        """Documents that share a term with the query, best first; ties keep the order of the case."""
        wanted = set(terms(query))
        scored = []
        for document, counts, norm in zip(self.documents, self._counts, self._norms, strict=True):
            score = sum(
                self._idf[term] * counts[term] * (K1 + 1) / (counts[term] + norm)
                for term in sorted(wanted & counts.keys())
            )
            if score > 0:
                scored.append((document, score))
        return sorted(scored, key=lambda pair: -pair[1])[:limit]
