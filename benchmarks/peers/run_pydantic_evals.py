"""N cases through pydantic-evals: an asynchronous echo task, one exact-match evaluator, no progress bar."""

import os
import sys
import time

from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import EqualsExpected

CASES = int(os.environ["BENCHMARK_CASES"])


async def echo(prompt: str) -> str:
    """The agent."""
    return prompt


def main() -> int:
    """Evaluate, print the time of the evaluation alone, fail unless every case passed."""
    cases = [
        Case(name=f"case-{number}", inputs=f"question {number}", expected_output=f"question {number}")
        for number in range(CASES)
    ]
    dataset = Dataset(name="echo", cases=cases, evaluators=[EqualsExpected()])
    started = time.perf_counter()
    report = dataset.evaluate_sync(echo, progress=False)
    print(f"inner {time.perf_counter() - started:.3f}")
    passed = sum(all(result.value is True for result in case.assertions.values()) for case in report.cases)
    return 0 if passed == CASES else 1


if __name__ == "__main__":
    sys.exit(main())
