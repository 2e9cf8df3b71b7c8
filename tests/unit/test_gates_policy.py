"""Every metric can be asked for with few words, at the stages and with the keys that docs/policy.md names."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from surefoot.core.planning import plan_policy
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import GROUP_RATE_METRICS, Metric
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY
from tests.gates import gate_of

LABELS = {"maturity": "1h"}
MINIMAL: dict[Metric, dict[str, object]] = {
    Metric.ERROR_RATE: {"margin": "1pp"},
    Metric.MISSING_LABEL: {"margin": "1pp", "labels": LABELS},
    Metric.LATENCY: {"margin": "20%"},
    Metric.RESOURCE: {"margin": "20%", "column": "cpu_ms"},
    Metric.GAUGE: {"margin": "20%", "column": "rss_mb"},
    Metric.VALUE: {"margin": "5%", "cap": 100, "labels": LABELS},
    **{
        metric: {"labels": LABELS}
        for metric in (
            Metric.BRIER,
            Metric.LOG_LOSS,
            Metric.ZERO_ONE,
            Metric.ABSOLUTE_ERROR,
            Metric.SQUARED_ERROR,
            Metric.RMSE,
            Metric.ECE,
            Metric.AUC,
        )
    },
    Metric.PINBALL: {"quantile": 0.9, "labels": LABELS},
    Metric.COST: {"costs": {"tp": 1, "fp": 2, "fn": 3, "tn": 0}, "labels": LABELS},
    **{metric: {"by": ["origin"], "labels": LABELS} for metric in sorted(GROUP_RATE_METRICS)},
    Metric.LOSS_GAP: {"of": "brier", "by": ["origin"], "labels": LABELS},
    Metric.DISAGREEMENT: {"max": 0.1},
    Metric.INPUT_SHIFT: {"max": 0.1},
    Metric.PREDICTION_SHIFT: {"max": 0.1},
    Metric.EXPECTED_LOSS: {"role": "signal", "labels": LABELS},
    Metric.GOLDEN: {},
}
"""The least that a gate on each metric must say."""
STAGES = ("shadow", "live shadow", "ramp", "bake")
DOCUMENT = Path(__file__).parents[2] / "docs/policy.md"


def documented() -> list[tuple[list[str], str, list[str]]]:
    """Rows of the document's table of metrics: (metrics, stages, keys)."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("| metric |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    return [(re.findall(r"`(\w+)`", row[0]), row[2], re.findall(r"`(\w+)`", row[3])) for row in rows if len(row) > 2]


def policy(metric: Metric, stages: tuple[str, ...], **keys: object) -> dict[str, Any]:
    """A policy with one gate on this metric in these stages, beside one on errors."""

    def names(stage: str) -> list[str]:
        return ["errors", "g"] if stage in stages else ["errors"]

    return {
        **POLICY,
        "gates": {
            "errors": {"metric": "error_rate", "margin": "1pp"},
            "g": {"metric": metric.value, **MINIMAL[metric], **keys},
        },
        "steps": [
            {"shadow": {"window": "7d", "gates": names("shadow")}},
            {"shadow": {"source": "live", "share": 20, "for": "2h", "gates": names("live shadow")}},
            {"weight": 5, "hold": {"for": "10m", "gates": names("ramp")}},
        ],
        "bake": {"for": "1h", "gates": names("bake")},
    }


def refused(value: dict[str, object]) -> str:
    """What is wrong with a policy; empty when nothing is."""
    try:
        parse_policy(value)
    except Violation as violation:
        return violation.rule
    return ""


STAGED = {name: where for names, where, _ in documented() for name in names}
KEYED = {name: (names, keys) for names, _, keys in documented() for name in names}
WRITTEN = sorted(set(Metric) - {Metric.VALIDATION, Metric.ANSWER_SHAPE, Metric.CORNERS})


@pytest.mark.parametrize("metric", WRITTEN)
def test_few_words_ask_for_any_metric(metric: Metric) -> None:
    """A gate with what its metric needs is read under the name that it was given, and one with less is refused."""
    stages = [stage for stage in STAGES if not refused(policy(metric, (stage,)))]
    assert stages
    found = parse_policy(policy(metric, tuple(stages))).gates["g"]
    assert (found.name, found.metric) == ("g", metric)
    for key in MINIMAL[metric]:
        less = policy(metric, tuple(stages))
        del less["gates"]["g"][key]
        assert refused(less)


@pytest.mark.parametrize("metric", WRITTEN)
def test_document_names_the_stages_of_every_metric(metric: Metric) -> None:
    """The parser takes a gate in exactly those stages that the document names."""
    said = STAGED[metric.value]
    expected = set(STAGES) if said == "all stages" else set(said.split(", "))
    assert {stage for stage in STAGES if not refused(policy(metric, (stage,)))} == expected


@pytest.mark.parametrize("metric", WRITTEN)
def test_document_names_the_keys_of_every_metric(metric: Metric) -> None:
    """Whatever the document lists as a key is understood by one of the metrics of its row."""
    names, keys = KEYED[metric.value]
    known: dict[str, bool] = defaultdict(bool)
    for name in names:
        stages = tuple(stage for stage in STAGES if not refused(policy(Metric(name), (stage,))))
        for key in keys:
            known[key] |= not refused(policy(Metric(name), stages, **{key: None})).startswith("unknown key")
    assert [key for key in keys if not known[key]] == []


def test_document_names_every_metric_once() -> None:
    """The table holds each metric that a policy may name, once, and nothing that none may."""
    assert sorted(name for names, _, _ in documented() for name in names) == sorted(m.value for m in WRITTEN)


def test_validation_cannot_be_written() -> None:
    """The expectation suite is a gate of its own, which no policy names as a metric."""
    gates = {"errors": {"metric": "error_rate", "margin": "1pp"}, "g": {"metric": "validation"}}
    assert refused({**POLICY, "gates": gates}).startswith("expected one of error_rate, ")


def test_inputs_of_the_same_requests_have_a_limit_of_their_own() -> None:
    """What two versions are fed may differ on one percent of the requests unless the policy says otherwise."""
    value = policy(Metric.INPUT_SHIFT, ("shadow",), against="champion")
    assert gate_of(parse_policy(value), "g").limit == 0.1
    del value["gates"]["g"]["max"]
    assert gate_of(parse_policy(value), "g").limit == 0.01


def planned(gate: dict[str, object], steps: int) -> list[float]:
    """What a plan says that a gate sees in each step of a ramp: how much, and the smallest harm that it finds."""
    ramp = [{"weight": 5 + n, "hold": {"for": "10d", "gates": ["errors", "g"]}} for n in range(steps)]
    gates = {"errors": {"metric": "error_rate", "margin": "1pp"}, "g": gate}
    seen = [
        sight for sight in plan_policy(parse_policy({**POLICY, "gates": gates, "steps": ramp})) if sight.gate == "g"
    ]
    return [number for sight in seen for number in (sight.n, sight.effect or 0.0)]


@pytest.mark.parametrize(
    "gate",
    [
        {"metric": "brier", "margin": 0.01, "labels": LABELS, "expect": {"spread": 0.02}},
        {"metric": "zero_one", "margin": 0.0, "labels": LABELS, "block": "none", "expect": {"rate": 0.1}},
    ],
    ids=["blocks", "answers"],
)
def test_plan_begins_anew_with_each_step_as_the_judge_does(gate: dict[str, object]) -> None:
    """Steps of one length see as much of the same requests, and the more of them share the level the less they find."""
    one, three = planned(gate, 1), planned(gate, 3)
    assert three == three[:2] * 3
    assert one[0] == three[0]
    assert 0.0 < one[1] < three[1]
