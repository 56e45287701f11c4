"""BM25 over the documents of a case."""

from __future__ import annotations

from agentcheck.records import Document
from agentcheck.worlds.retrieval import Index, terms

TYRES = Document("tyres", "The main tyre pressure is 210 psi.", "Halcyon wheels")
OIL = Document("oil", "The engine takes seven litres of oil. Oil is checked after shutdown.", "Engine servicing")
SEALS = Document("seals", "Seals have a shelf life of 60 months.", "Stores")


def ids(query: str, *documents: Document, limit: int = 4) -> list[str]:
    """Ids of the documents found, best first."""
    return [document.id for document, _ in Index(documents).search(query, limit)]


def test_the_document_with_the_words_comes_first() -> None:
    """The document that holds the rare words of a query is the best."""
    assert ids("What is the tyre pressure?", OIL, TYRES, SEALS)[0] == "tyres"
    assert ids("shelf life of a seal", OIL, TYRES, SEALS)[0] == "seals"


def test_what_shares_no_word_is_not_found() -> None:
    """A document without a word of the query is not among the results."""
    assert ids("tyre pressure", OIL, TYRES, SEALS) == ["tyres"]
    assert ids("parking fee", OIL, TYRES, SEALS) == []


def test_words_without_topic_find_nothing() -> None:
    """Articles, question words and the like do not count as shared words."""
    assert ids("What is the of and?", OIL, TYRES, SEALS) == []


def test_a_title_counts() -> None:
    """The words of a title find its document."""
    assert ids("engine servicing", TYRES, OIL) == ["oil"]
    assert ids("stores", TYRES, SEALS) == ["seals"]


def test_rare_words_weigh_more() -> None:
    """A word that one document holds outweighs words that all hold."""
    shared = "The wheel of the aircraft is checked before each flight."
    one = Document("one", f"{shared} The wheel of the aircraft is heavy.")
    two = Document("two", f"{shared} Nitrogen is used.")
    assert ids("nitrogen wheel aircraft", one, two)[0] == "two"


def test_a_repeated_word_saturates() -> None:
    """Repeating one word does not beat a document that holds both words."""
    spam = Document("spam", "oil " * 50)
    both = Document("both", "The oil pressure is read from the gauge.")
    assert ids("oil pressure", spam, both)[0] == "both"


def test_ties_keep_the_order_of_the_case() -> None:
    """Equal documents come in the order in which the case lists them."""
    same = [Document(name, "oil pressure") for name in ("b", "a", "c")]
    assert ids("oil", *same) == ["b", "a", "c"]


def test_no_more_than_the_limit() -> None:
    """At most as many documents as asked for."""
    assert ids("oil pressure", *[Document(str(n), "oil") for n in range(9)], limit=2) == ["0", "1"]


def test_no_documents_no_results() -> None:
    """An index over nothing, and over empty documents, finds nothing."""
    assert ids("oil") == []
    assert ids("oil", Document("empty", "")) == []


def test_identifiers_stay_whole() -> None:
    """An identifier is one term, and a plural finds its singular."""
    assert list(terms("Tyres of FX-ABA, per AD-31-02: 4.5 litres")) == [
        "tyre",
        "fx-aba",
        "per",
        "ad-31-02",
        "4.5",
        "litre",
    ]
