"""The names that the room `metrics` brings; strings only, so listing them imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

from agentcheck.hookspecs import hookimpl

METRICS: Mapping[str, str] = {
    "expected_actions": "agentcheck.metrics.actions:make_expected",
    "forbidden_actions": "agentcheck.metrics.actions:make_forbidden",
    "exact_match": "agentcheck.metrics.answers:make_exact",
    "structured_match": "agentcheck.metrics.structured:make",
    "contains": "agentcheck.metrics.answers:make_contains",
    "groundedness": "agentcheck.metrics.groundedness:make",
    "enforcement": "agentcheck.metrics.enforcement:make",
    "audit_completeness": "agentcheck.metrics.audit:make",
    "replayed": "agentcheck.metrics.replayed:make",
    "retention": "agentcheck.metrics.conversation:make_retention",
    "correction": "agentcheck.metrics.conversation:make_correction",
    "action_count": "agentcheck.metrics.efficiency:make_action_count",
    "latency_seconds": "agentcheck.metrics.efficiency:make_latency",
    "cost": "agentcheck.metrics.efficiency:make_cost",
}


@hookimpl
def agentcheck_metrics() -> Mapping[str, str]:
    """The deterministic metrics."""
    return METRICS
