"""A drafted policy and suite are whole, hold the sample, and say what a sample cannot know."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.config.policy_file import read_policy
from surefoot.core.drafting.policy_draft import DraftOptions, draft_policy
from surefoot.core.drafting.policy_text import write_policy_text
from surefoot.core.drafting.sample_spread import measure_spread
from surefoot.core.drafting.sample_summary import ColumnKind, ColumnSummary, SampleSummary, Task, find_task
from surefoot.core.drafting.step_lengths import STEP_LENGTHS
from surefoot.core.drafting.suite_draft import draft_suite, widen_range
from surefoot.core.durations import DAY_S
from surefoot.core.naming.model_names import is_model_name
from surefoot.core.planning.plan import plan_policy
from surefoot.core.policy.parse import parse_policy
from tests.sweeps import EVERYTHING

CITY = ColumnSummary("city", ColumnKind.TEXT, 0.0, 2, 4, 5, (("Bonn", 0.4), ("Trier", 0.6)))
SAMPLE = SampleSummary(2000, (ColumnSummary("x", ColumnKind.NUMBER, 0.0, 900, 1.0, 3.5), CITY), Task.NUMBER, (), 1.0)


@settings(max_examples=60 if EVERYTHING else 12)
@given(
    st.text(min_size=1, max_size=30).filter(is_model_name),
    st.sampled_from(Task),
    st.floats(0.001, 100_000.0),
    st.floats(0.0, 1.0),
    st.sampled_from([None, 60.0, 3 * DAY_S, 90 * DAY_S]),
    st.booleans(),
)
def test_every_draft_is_a_policy_and_its_text_gives_it_again(
    model: str, task: Task, traffic: float, labelled: float, delay: float | None, by_unit: bool
) -> None:
    """Whatever the task, the traffic and the name of the model, the text is a policy that the parser takes."""
    classes = ("no: way", "on", "yes") if task is Task.CLASS else ()
    sample = SampleSummary(2000, SAMPLE.columns, task, classes, labelled, delay, 30 * DAY_S)
    made = draft_policy(DraftOptions(model, "m", "city" if by_unit else "", traffic), sample)
    parsed = parse_policy(made.policy)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.yaml"
        file.write_text(write_policy_text(made.policy, made.comments), encoding="utf-8")
        assert read_policy(file)[1] == parsed
    assert parsed.model == model
    assert ("quality" in parsed.gates) == (task is not Task.UNKNOWN)


@pytest.mark.parametrize("traffic", [0.5, 5.0, 50.0, 5000.0])
def test_an_equal_candidate_passes_each_weight_of_a_draft_in_time(traffic: float) -> None:
    """At its own traffic each weight of a draft is held as long as its gates need, and not for the longest time."""
    made = draft_policy(DraftOptions("m", "m", requests_per_minute=traffic), SAMPLE)
    for seen in plan_policy(parse_policy(made.policy)):
        if seen.step.startswith("weight"):
            assert seen.needs is not None
            assert seen.needs <= seen.lasts < STEP_LENGTHS["14d"], seen
            assert not seen.warning
    holds = [STEP_LENGTHS[step["hold"]["for"]] for step in made.policy["steps"][1:]]
    assert min(holds) <= DAY_S or traffic < 1.0


def test_a_task_without_labels_says_what_is_missing() -> None:
    """Without labels only the distribution of the answers is compared, and the draft says that nothing else can be."""
    made = draft_policy(DraftOptions("m", "m"), SampleSummary(500, SAMPLE.columns, Task.UNKNOWN))
    assert set(made.policy["gates"]) == {"errors", "latency", "answers"}
    assert any("without labels nothing says which version is right" in doubt for doubt in made.doubts)
    assert any("requests a minute is a guess" in doubt for doubt in made.doubts)
    assert any("no unit" in doubt for doubt in made.doubts)


@pytest.mark.parametrize(
    ("labels", "answers", "task", "classes"),
    [
        ([0, 1, None, 1], [0.25, 0.5], Task.PROBABILITY, ()),
        ([True, False], [], Task.PROBABILITY, ()),
        ([0, 1], [1, 0], Task.CLASS, ()),
        ([0, 1], [[0.5, 0.5]], Task.PROBABILITY, ()),
        (["late", "on time"], [[0.5, 0.5]], Task.CLASS, ("late", "on time")),
        (["late", "on time"], ["late"], Task.CLASS, ()),
        ([0, 2, 1], [[0.2, 0.3, 0.5]], Task.CLASS, ("0", "1", "2")),
        ([0, 2, 1], [1.0], Task.NUMBER, ()),
        ([3.5, 0.25], [], Task.NUMBER, ()),
        ([None, None], [0.5], Task.UNKNOWN, ()),
    ],
)
def test_the_task_is_found_in_labels_and_answers(
    labels: list[object], answers: list[object], task: Task, classes: tuple[str, ...]
) -> None:
    """Texts are classes, 0 and 1 are yes and no, lists of probabilities are of classes, other numbers are numbers."""
    assert find_task(labels, answers) == (task, classes)


@given(st.floats(-1e12, 1e12), st.floats(0.0, 1e12))
def test_a_widened_range_holds_the_sample(low: float, length: float) -> None:
    """Bounds are in order, apart, and hold both ends; what is never negative in the sample may not become so."""
    high = low + length
    lower, upper = widen_range(low, high)
    assert lower <= low <= high <= upper
    assert lower < upper
    assert (lower >= 0.0) == (low >= 0.0)


def test_doubtful_columns_are_named() -> None:
    """An id, an empty column, one with one value, one that is often missing and a list are said, and not checked."""
    columns = (
        ColumnSummary("id", ColumnKind.WHOLE_NUMBER, 0.0, 2000, 1.0, 2000.0),
        ColumnSummary("empty", ColumnKind.TEXT, 1.0, 0),
        ColumnSummary("same", ColumnKind.NUMBER, 0.0, 1, 5.0, 5.0),
        ColumnSummary("rare", ColumnKind.NUMBER, 0.6, 50, 0.0, 1.0),
        ColumnSummary("tags", ColumnKind.OTHER, 0.0, 2000),
    )
    made = draft_suite("m", SampleSummary(2000, columns, Task.NUMBER))
    assert [doubt.split("'")[1] for doubt in made.doubts] == ["id", "empty", "same", "rare", "tags"]
    found = made.suite["expectations"]
    assert isinstance(found, list)
    ranges = [one["kwargs"]["column"] for one in found if one["type"] == "expect_column_values_to_be_between"]
    assert ranges == ["same", "rare"]
    mostly = {one["kwargs"]["column"]: one["kwargs"]["mostly"] for one in found if "not_be_null" in one["type"]}
    assert mostly == {"id": 0.99, "same": 0.99, "rare": 0.36, "tags": 0.99}


def test_a_spread_is_measured_over_blocks_where_times_tell() -> None:
    """Days that differ give the spread of their means; without times it is that of independent rows."""
    rng = np.random.default_rng(7)
    days = np.repeat(np.arange(200), 50)
    losses = rng.normal(0.0, 1.0, 200)[days] + rng.normal(0.0, 1.0, days.size)
    times = (days * DAY_S + 100.0).tolist()
    by_day = measure_spread(losses, times, DAY_S, 50.0)
    assert by_day == pytest.approx(math.sqrt(1.0 + 1.0 / 50.0), rel=0.15)
    alone = measure_spread(losses, [], DAY_S, 50.0)
    assert alone == pytest.approx(math.sqrt(2.0 / 50.0), rel=0.15)
    assert measure_spread(np.zeros(10), [], DAY_S, 50.0) is None
    assert measure_spread(np.ones(1), [], DAY_S, 50.0) is None
