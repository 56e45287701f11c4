"""N cases through DeepEval's ``evaluate()`` at its quickest: exact match, no cache, no printing, no telemetry.

Its defaults write the whole result cache again after every case, which grows with the square of the number of cases;
``BENCHMARK_DEFAULTS=1`` leaves them on.
"""

import os
import sys
import time

os.environ.setdefault("DEEPEVAL_TELEMETRY_OPT_OUT", "1")
os.environ.setdefault("DEEPEVAL_DISABLE_DOTENV", "1")

from deepeval import evaluate
from deepeval.evaluate.configs import AsyncConfig, CacheConfig, DisplayConfig
from deepeval.metrics import ExactMatchMetric
from deepeval.test_case import LLMTestCase

CASES = int(os.environ["BENCHMARK_CASES"])
DEFAULTS = os.environ.get("BENCHMARK_DEFAULTS") == "1"


def echo(prompt: str) -> str:
    """The agent."""
    return prompt


def main() -> int:
    """Evaluate, print the time of the evaluation alone, fail unless every case passed."""
    cases = [
        LLMTestCase(
            name=f"case-{number}",
            input=f"question {number}",
            actual_output=echo(f"question {number}"),
            expected_output=f"question {number}",
        )
        for number in range(CASES)
    ]
    started = time.perf_counter()
    result = evaluate(
        test_cases=cases,
        metrics=[ExactMatchMetric()],
        async_config=AsyncConfig(),
        cache_config=CacheConfig(write_cache=DEFAULTS),
        display_config=DisplayConfig(show_indicator=DEFAULTS, print_results=DEFAULTS, inspect_after_run=False),
    )
    print(f"inner {time.perf_counter() - started:.3f}")
    return 0 if sum(bool(item.success) for item in result.test_results) == CASES else 1


if __name__ == "__main__":
    sys.exit(main())
