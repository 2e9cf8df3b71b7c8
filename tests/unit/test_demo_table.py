"""The demo's table of predictions, and the policy that names it."""

from pathlib import Path

import pytest

from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.datalayer.table_adapters import TableAdapters
from surefoot.demo.predictions_table import TABLE_URL_VARIABLE, PredictionsTable, make_demo_project

ROOT = Path(__file__).parents[2]


def _answer(number: int) -> bytes:
    return b'{"predictions": [[0.25, %.2f]]}' % (number / 10)


def test_the_table_goes_back_to_what_the_champion_before_has_written(tmp_path: Path) -> None:
    """The demo's own policy restores the demo's own table: the rows of the version that is taken back are gone."""
    table = PredictionsTable(tmp_path / "predictions.db")
    table.write([(f"r{one}", "1", _answer(one)) for one in range(5)], "1", 100.0)
    project = make_demo_project(ROOT, tmp_path / "project", "flights-late")
    _, policy = read_policy(project / "configs" / "flights-late.yaml")
    (source,) = policy.data_layer
    adapters = TableAdapters(project, tmp_path / "tables", {TABLE_URL_VARIABLE: table.url})
    checkpoint = adapters.checkpoint("flights-late", source)
    table.write([("s1", "4", b'{"predictions": [0.5]}'), ("s2", "1", _answer(1))], "4", 200.0)
    assert table.rows_by_version() == {"1": 5, "4": 1}
    done = adapters.restore("flights-late", source, checkpoint, ("4",), "flights-late/1")
    assert (done.after, done.already) == (checkpoint.content.digest, False)
    assert table.rows_by_version() == {"1": 5}


@pytest.mark.parametrize("missing", ["prefect.yaml", "configs"])
def test_a_folder_that_is_no_project_is_left_to_up(tmp_path: Path, missing: str) -> None:
    """Without policies or prefect.yaml nothing is copied: `up` names the folder that a person has given."""
    source = tmp_path / "source"
    (source / "configs").mkdir(parents=True)
    (source / "configs" / "flights-late.yaml").touch()
    (source / "prefect.yaml").touch()
    (source / missing).rename(source / "elsewhere")
    assert make_demo_project(source, tmp_path / "own", "flights-late") == source
    assert not (tmp_path / "own").exists()
