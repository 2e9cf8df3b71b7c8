"""`surefoot spread`: what plans count on, measured on a real log with real versions."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.cli.spread import format_expect_yaml_lines, format_yaml_number, measure_gate_expectations
from surefoot.core.planning.planning_inputs import ExpectValue
from surefoot.core.policy.parse import parse_policy
from tests.integration import hosted_models
from tests.integration.test_hosted import DAY, hosted, logged, version

POLICY: dict[str, object] = {
    "model": "m",
    "traffic": {"requests_per_minute": 1},
    "data": {"suite": "m"},
    "gates": {
        "errors": {"metric": "error_rate", "margin": "1pp"},
        "latency": {"metric": "latency", "margin": "50%"},
        "apart": {"metric": "absolute_error", "margin": 1, "labels": {"maturity": "100s"}},
    },
    "steps": [
        {"shadow": {"window": "8d", "gates": ["apart"]}},
        {"weight": 50, "hold": {"for": "1h", "gates": ["errors", "latency"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions that answer differently."""
    root = tmp_path_factory.mktemp("prepared")
    hosted_models.save_prepared(root)
    return root


XS = [float(i * i % 97) for i in range(800)]


def found(prepared: Path, root: Path, other: str) -> dict[str, ExpectValue]:
    """What is measured for each gate on a log of eight days."""
    log = logged(root, XS)
    versions = (version(prepared, "1"), version(prepared, other))
    replay = OfflineReplay(log, hosted(prepared).start_scorer)
    return {
        one.gate: one for one in measure_gate_expectations(parse_policy(POLICY), versions, log, replay, (0.0, 9 * DAY))
    }


def test_the_spread_is_that_of_the_blocks_difference(prepared: Path, tmp_path: Path) -> None:
    """The spread between days of two versions' difference is the one that plans divide by the root of the days."""
    apart = found(prepared, tmp_path, "2")["apart"]
    blocks: dict[int, list[float]] = {}
    factor = hosted_models.FACTORS["2"] - hosted_models.FACTORS["1"]
    for i, x in enumerate(XS):
        blocks.setdefault(int((1000.0 + i * 8 * DAY / len(XS)) // DAY), []).append(abs(factor * x))
    whole = [np.array(values) for day, values in blocks.items() if day < 8]  # the labels of the ninth are not due
    n = sum(len(values) for values in whole)
    mean = sum(float(values.sum()) for values in whole) / n
    k = len(whole)
    error = math.sqrt(k / (k - 1) * sum((float(v.sum()) - mean * len(v)) ** 2 for v in whole)) / n
    assert apart.key == "spread"
    assert apart.value == pytest.approx(error * math.sqrt(k), rel=0.02)
    assert "the champion's absolute_error is" in apart.note


def test_one_version_alone_says_that_it_is_alone(prepared: Path, tmp_path: Path) -> None:
    """Without another version the champion's own spread is told as that, and an exact champion has none."""
    apart = found(prepared, tmp_path, "1")["apart"]
    assert apart.key == ""
    assert "no spread" in apart.note


def test_what_the_log_does_not_hold_is_a_comment(prepared: Path, tmp_path: Path) -> None:
    """Gates on served traffic need logged requests of the champion; without them the line says how many there are."""
    made = found(prepared, tmp_path, "2")
    assert made["errors"].note == "only 0 requests of version 1 are logged; 100 are needed"
    assert "only 0 measurements" in made["latency"].note


def test_the_lines_can_be_pasted(prepared: Path, tmp_path: Path) -> None:
    """Each printed line is YAML that the policy takes as it stands, with the number that was measured."""
    made = list(found(prepared, tmp_path, "2").values())
    made[0] = ExpectValue("errors", "rate", 0.0000123, "1 of 80,000 requests failed")
    written = yaml.safe_dump(POLICY)
    for line in format_expect_yaml_lines(made)[1:]:
        gate, _, expect = line.partition(" #")[0].strip().partition(": { ")
        if expect:
            written = written.replace(f"  {gate}:\n", f"  {gate}:\n    {expect.removesuffix(' }')}\n")
    path = tmp_path / "m.yaml"
    path.write_text(written)
    _, policy = read_policy(path)
    assert policy.gates["errors"].expected == 0.0000123
    assert policy.gates["apart"].spread == pytest.approx(made[2].value, rel=0.005)


@pytest.mark.parametrize(
    ("value", "said"), [(1e-5, "0.00001"), (0.02314, "0.0231"), (123456.0, "123000"), (0.5, "0.5")]
)
def test_a_number_has_no_exponent(value: float, said: str) -> None:
    """YAML takes 1e-05 for a text, so no number is written like that."""
    assert format_yaml_number(value) == said
