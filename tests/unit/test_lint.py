"""`surefoot lint` as a person and as a program read it."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from surefoot import cli
from tests.fakes import POLICY


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one model whose policy can be kept."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "expectations").mkdir()
    suite = {
        "name": "m",
        "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}],
    }
    (tmp_path / "expectations" / "m.json").write_text(json.dumps(suite))
    write(tmp_path, POLICY)
    return tmp_path


def write(project: Path, value: dict[str, object]) -> None:
    """Write the model's policy."""
    (project / "configs" / "m.yaml").write_text(yaml.safe_dump(value))


def lint(project: Path, *words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli.app, ["lint", "--project", str(project), *words], standalone_mode=False)


def hurried(minutes: str) -> dict[str, object]:
    """The same policy with steps of another length and no patience."""
    steps = [{"weight": 50, "hold": {"for": minutes, "gates": ["errors"]}}]
    return {**POLICY, "steps": steps, "on": {"inconclusive": "rollback"}}


def test_each_step_says_what_it_finds(project: Path) -> None:
    """A line a gate and step: what it counts, the harm it finds, how often an equal candidate passes, and how long."""
    said = lint(project)
    assert said.return_value == 0
    line = next(line for line in said.output.splitlines() if line.startswith(" weight 50 %"))
    assert "12,000 units" in line
    assert "instead of 0.10%" in line
    assert "goes on beyond its 1 h: at most about 4 a month" in said.output
    assert "assuming 0.1% of bad events" in said.output


def test_a_step_that_sees_nothing_is_a_warning_and_under_strict_an_error(project: Path) -> None:
    """Six seconds prove nothing: `lint` warns and says how long would do; `lint --strict` exits 2."""
    write(project, hurried("6s"))
    said = lint(project)
    assert said.return_value == 0
    assert "warning weight 50 %, errors:" in said.output
    assert "would do" in said.output
    assert lint(project, "--strict").return_value == 2
    write(project, hurried("2h"))
    assert lint(project, "--strict").return_value == 0


def test_a_program_reads_the_same_numbers(project: Path) -> None:
    """`--json` gives each gate's effect, chance, need and warning; a broken policy is an entry with its error."""
    write(project, hurried("2h"))
    (project / "configs" / "broken.yaml").write_text("model: [")
    said = lint(project, "--json")
    assert said.return_value == 2
    broken, good = json.loads(said.output)["policies"]
    assert "broken.yaml:" in broken["error"]
    step = next(row for row in good["steps"] if row["step"] == "weight 50 %")
    assert step["passes"] > 0.8
    assert step["effect"] > 1.0
    assert step["warning"] == ""
    assert good["false_rollbacks_a_year"] > 0.0


def test_a_policy_may_be_named_by_its_file(project: Path) -> None:
    """The path that a shell completes is as good as the name of the model; one that is not there is named as given."""
    assert lint(project, str(project / "configs" / "m.yaml")).output == lint(project, "m").output
    missing = lint(project, "elsewhere/m.yaml")
    assert missing.return_value == 2
    assert "there is no policy elsewhere/m.yaml" in missing.output
