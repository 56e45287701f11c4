"""Actions written as free text: what tool they call, with what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcheck.datasets.free_text import parse_action

RAW = "_raw"


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("Read{'id': 'e1'}", "Read", {"id": "e1"}),
        ('Lock\nAction Input: {"guests": ["g"], "permanent": true}', "Lock", {"guests": ["g"], "permanent": True}),
        ('Run: {"command": "ls"}\n', "Run", {"command": "ls"}),
        ('Run Input: {"command": "ls"}', "Run", {"command": "ls"}),
        ('Run:  {"a": 1}', "Run", {"a": 1}),
        ('Send: {"body": "two\nlines"}', "Send", {"body": "two\nlines"}),
        ('write: {\n "text": "x"\n }\n }\n}', "write", {"text": "x"}),
        ("Send: {'to': 'a', 'text': \"it's\"}", "Send", {"to": "a", "text": "it's"}),
        ("Broken: {'to': }", "Broken", {RAW: "{'to': }"}),
        ('Two: {"a": 1} and more', "Two", {RAW: '{"a": 1} and more'}),
        ("```bash\nrm -rf /root\n```", "bash", {"code": "rm -rf /root"}),
        ("bash\n\n```bash\nls -l```", "bash", {"code": "ls -l"}),
        ('"command": {"name": "run", "args": {"f": "x.py"}}}}', "run", {"f": "x.py"}),
        ('"command": "./add.sh \'a\'"}}}', "command", {"command": "./add.sh 'a'"}),
        ('"command": {', "command", {RAW: "{"}),
        ('{"Grant":  {"ids": ["g2"]}}', "Grant", {"ids": ["g2"]}),
        ('The action is {"action_type": "click", "idx": 1}', "click", {"idx": 1}),
        ("Open(url='1.2.3.4')", "Open", {"url": "1.2.3.4"}),
        ("Delete(users=['A', 'B'])", "Delete", {"users": ["A", "B"]}),
        ("Create(id=1)", "Create", {"id": 1}),
        ("List()", "List", {}),
        ("Update('id': 3, 'status': 'done')", "Update", {"id": 3, "status": "done"}),
        ("Check(last < '2023')", "Check", {RAW: "last < '2023'"}),
        ("Search(status: 'done')", "Search", {RAW: "status: 'done'"}),
        ("click <Allow>", "click", {RAW: "click <Allow>"}),
        ("<Settings>-<Volume> [5]", "settings", {RAW: "<Settings>-<Volume> [5]"}),
        ("at 00:00 shutdown -s", "at", {RAW: "at 00:00 shutdown -s"}),
    ],
)
def test_a_call(text: str, tool: str, arguments: dict[str, Any]) -> None:
    """Each shape names its tool and gives its arguments, or keeps them word for word."""
    found = parse_action(text)
    assert (found.tool, found.arguments) == (tool, arguments)
    assert found.raw is (RAW in arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Final Answer: {'a': 1}", "{'a': 1}"),
        ("I have sent it.", "I have sent it."),
        ("Shall I go on?", "Shall I go on?"),
        ("```c\nint main() {}\n```", "```c\nint main() {}\n```"),
        ("Please: do\nit", "Please: do\nit"),
        ("x" * 121, "x" * 121),
        ("", ""),
        ("...", "..."),
    ],
)
def test_a_message(text: str, said: str) -> None:
    """A sentence, an answer and code in a language that nothing runs are messages."""
    found = parse_action(text)
    assert (found.tool, found.text, found.arguments) == ("", said, {})


@given(st.text() | st.from_regex(r"[A-Za-z]{1,3}[:({ ]{0,3}['\"{}\[\]:,a-z0-9= ]{0,20}[})]{0,3}"))
def test_nothing_is_lost_of_any_text(text: str) -> None:
    """Any text becomes a call or a message, and what is not blank is never neither."""
    found = parse_action(text)
    assert found.tool or found.text or text.strip() in ("", "Final Answer:")
