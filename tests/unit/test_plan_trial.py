"""What `plan` says of loading a version."""

import pytest

from surefoot.adapters.replay.version_processes import LoadResult
from surefoot.cli.printing import plan_output
from surefoot.models.rows.independence import IndependenceResult, RowIndependence


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            LoadResult("", IndependenceResult(RowIndependence.ROW_WISE)),
            "Version 4 answers each row by itself: requests are predicted together.",
        ),
        (
            LoadResult("", IndependenceResult(RowIndependence.NOT_REPEATABLE, "it keeps state")),
            "is asked one request at a time: it keeps state",
        ),
        (
            LoadResult("", IndependenceResult(RowIndependence.ROW_WISE), ("torch==2.9",)),
            "name torch==2.9, which is not installed here",
        ),
    ],
)
def test_plan_says_how_a_version_will_be_asked(
    found: LoadResult, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether requests share a batch or why not, and which packages are not installed."""
    plan_output.print_load_trial("4", found)
    assert said in capsys.readouterr().out
