"""The floor: N parametrized tests of plain pytest, each asking an echo agent and comparing."""

import os

import pytest

CASES = int(os.environ["BENCHMARK_CASES"])


def echo(prompt: str) -> str:
    """The agent."""
    return prompt


@pytest.mark.parametrize("number", range(CASES), ids=lambda number: f"case-{number}")
def test_echo(number: int) -> None:
    """The answer is the prompt."""
    prompt = f"question {number}"
    assert echo(prompt) == f"question {number}"
