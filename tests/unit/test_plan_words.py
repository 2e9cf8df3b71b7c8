"""What `surefoot plan` prints of each stage."""

import re

import pytest

from surefoot.cli.printing.console import console
from surefoot.cli.printing.plan_output import describe_evaluation_frequency, print_plan
from surefoot.core.policy.parse import parse_policy
from tests.fakes import POLICY, WITH_TABLES


def test_a_plan_says_durations_and_looks_as_people_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Eight minutes are `8 min` and a day is `1 d`; each stage says how often it looks, and how many looks that is."""
    steps = [
        {"shadow": {"window": "36h", "gates": ["errors"], "every": "10m"}},
        {"weight": 5, "hold": {"for": "1d", "gates": ["errors"]}},
        {"weight": 50, "hold": {"for": "1h", "every": "5m", "gates": ["errors"]}},
    ]
    value = {
        **POLICY,
        "data": {"suite": "m", "window": "480s"},
        "steps": steps,
        "bake": {"for": "8m", "gates": ["errors"]},
    }
    print_plan(parse_policy(value), "2", "1")
    said = capsys.readouterr().out
    for words in (
        "1. validate the requests of the last 8 min with suite m; looks at once, then every 1 h until it is decided",
        "2. replay the requests of the last 1 d 12 h: errors must pass; looks at once, then every 10 min",
        "3. 5 % of the units for 1 d: errors must pass (about",
        "looks every 2 h: 12 looks",
        "looks every 5 min: 12 looks",
        "bake for 8 min: errors roll back; looks every 40 s: 12 looks",
    ):
        assert words in said
    assert not re.search(r"\d\.\d+ days|\d{4} min", said)


@pytest.mark.parametrize(
    ("lasts", "every", "said"), [(3600.0, 300.0, "12 looks"), (600.0, 400.0, "2 looks"), (5.0, 60.0, "1 look")]
)
def test_looks_are_those_that_are_made(lasts: float, every: float, said: str) -> None:
    """A stage looks at its beginning and then at each interval until it is over, once at least."""
    assert describe_evaluation_frequency(lasts, every).endswith(f": {said}")


def test_a_plan_says_which_tables_follow() -> None:
    """A plan names each table before the promotion, and what a rollback does with it."""
    with console.capture() as said:
        print_plan(parse_policy(WITH_TABLES), "2", "1")
    lines = said.get().splitlines()
    moved = next(place for place, line in enumerate(lines) if "alias champion -> 2" in line)
    assert (
        "checkpoint table predictions, and restore it into a scratch copy: a rollback restores it" in lines[moved - 3]
    )
    assert "checkpoint table stream: a rollback leaves it as it is (correct)" in lines[moved - 2]
