"""`surefoot lint` as a person and as a program read it."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from typer.testing import CliRunner, Result

from surefoot import cli
from surefoot.adapters.config.policy_file import read_policy
from surefoot.cli.printing import plan_output
from surefoot.core.errors import PolicyInvalid
from tests.fakes import POLICY
from tests.unit.test_config import BAD


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
    return CliRunner().invoke(cli.build_app("lint"), ["lint", "--project", str(project), *words], standalone_mode=False)


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


@pytest.mark.parametrize("there", [True, False])
def test_an_engine_that_is_not_installed_is_a_note(
    project: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """A policy that spreads its scoring out is valid without that engine; `lint` then says what to install."""
    monkeypatch.setattr(plan_output, "find_spec", lambda name: name if there else None)
    write(project, {**POLICY, "scoring": {"engine": "dask", "workers": 2}})
    said = lint(project, "--strict")
    assert said.return_value == 0
    note = "note: scoring.engine 'dask' is not installed here, so each look asks both versions itself:"
    assert (f"{note} pip install 'surefoot[dask]'" in said.output) is not there
    notes = json.loads(lint(project, "--json").output)["policies"][0]["notes"]
    assert any("surefoot[dask]" in line for line in notes) is not there
    write(project, POLICY)
    assert "scoring" not in lint(project).output


def test_a_policy_may_be_named_by_its_file(project: Path) -> None:
    """The path that a shell completes is as good as the name of the model; one that is not there is named as given."""
    assert lint(project, str(project / "configs" / "m.yaml")).output == lint(project, "m").output
    missing = lint(project, "elsewhere/m.yaml")
    assert missing.return_value == 2
    assert "there is no policy elsewhere/m.yaml" in missing.output


BROKEN = """\
model: m
unit: [a]
traffic: {requests_per_minute: -1, engin: gateway}
data: {suite: m, window: 30}
gates:
  errors: {metric: error_rate, margin: 0.5pp, colour: red}
  quality: {metric: brier, margin: wide, labels: {maturity: soon, coverage: 2}}
  odd: {metric: eror_rate, margin: 1pp}
  idle: {metric: zero_one, margin: 100pp, labels: {maturity: 1h}}
on: {fail: shrug, stale: yes}
steps:
  - shadow: {window: 30d, gates: [quality, idle, odd]}
  - weight: 500
    hold: {for: 1h, gates: [errors, nothing]}
  - weight: 50
    hold: {for: 1 hour, gates: [errors]}
bake: {for: 7d, gates: [absent]}
colour: red
"""
TOLD = {
    2: ("unit: expected text",),
    3: ("traffic.engin: unknown key", "traffic.requests_per_minute: must be above 0"),
    4: ("data.window: expected a duration",),
    6: ("gates.errors.colour: unknown key",),
    7: (
        "gates.quality.labels.coverage: must be at most 1",
        "gates.quality.labels.maturity: expected a duration",
        "gates.quality.margin: expected a margin",
    ),
    8: ("gates.odd.metric: expected one of",),
    9: ("gates.idle.margin: must be below",),
    10: ("on.fail: expected one of", "on.stale: 'yes' means true or false"),
    13: ("steps.1.weight: must be at most 99",),
    14: ("steps.1.hold.gates: there is no gate 'nothing'",),
    16: ("steps.2.hold.for: expected a duration",),
    17: ("bake.gates: there is no gate 'absent'",),
    18: ("colour: unknown key",),
}


def test_every_error_of_every_file_is_told_at_once(project: Path) -> None:
    """Each broken key of each file has its line, once and in order; nothing is told that follows from another error."""
    (project / "configs" / "m.yaml").write_text(BROKEN)
    (project / "configs" / "n.yaml").write_text("model: [")
    suite = {
        "name": "m",
        "expectations": [
            {"type": "expect_colum_values_to_be_red", "kwargs": {"column": "a"}},
            {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
            {"kwargs": {}},
        ],
    }
    (project / "expectations" / "m.json").write_text(json.dumps(suite))
    said = lint(project)
    assert said.return_value == 2
    lines = [line for line in said.output.splitlines() if "m.yaml:" in line]
    found: dict[int, list[str]] = {}
    for line in lines:
        number, _, rule = line.partition("m.yaml:")[2].partition(": ")
        found.setdefault(int(number), []).append(rule)
    assert list(found) == sorted(found)
    assert list(found) == list(TOLD)
    for line_number, rules in TOLD.items():
        assert len(found[line_number]) == len(rules), found[line_number]
        for rule, words in zip(sorted(found[line_number]), rules, strict=True):
            assert rule.startswith(words)
    assert "n.yaml:1: not YAML" in said.output
    assert "expect_colum_values_to_be_red on column a is unknown" in said.output
    assert "expectation 3 of the suite has no type" in said.output
    assert len(json.loads(lint(project, "--json").output)["policies"][0]["errors"]) == len(lines) + 2


def test_a_key_with_an_old_name_is_told_with_its_new_one(project: Path) -> None:
    """`on.both_sick` of release 0.1.0 means what it meant, and one line says how it is called now; the two are one."""
    write(project, {**POLICY, "artifacts": {"pickle": "allow"}, "on": {"both_sick": "pause"}})
    said = lint(project)
    assert said.return_value == 0
    (line,) = [line for line in said.output.splitlines() if "both_sick" in line]
    assert line == "note: 'on.both_sick' has a new name: write 'on.baseline_unhealthy'"
    assert json.loads(lint(project, "--json").output)["policies"][0]["notes"] == [line.removeprefix("note: ")]
    write(project, {**POLICY, "on": {"both_sick": "pause", "baseline_unhealthy": "pause"}})
    assert "on.both_sick: this is the old name of 'baseline_unhealthy': write one" in lint(project).output


def test_one_mistake_is_one_error() -> None:
    """Each file of the collection of bad policies has one mistake, and one error is told of it."""
    for path in sorted(BAD.glob("*.yaml")):
        with pytest.raises(PolicyInvalid) as caught:
            read_policy(path)
        assert len(caught.value.problems()) == 1, (path.name, caught.value.problems())


@pytest.mark.parametrize("a_minute", [0.005, 1e-6, 1e-300, 5e-324, 1e9])
def test_traffic_of_any_size_can_be_planned(project: Path, a_minute: float) -> None:
    """A request a month, or one in the age of the universe, is a plan like any other; nothing above 0 is refused."""
    write(project, {**POLICY, "traffic": {"requests_per_minute": a_minute}})
    said = lint(project)
    assert said.return_value == 0, said.output
    assert not re.search(r"\b(nan|inf)\b", said.output)


def test_traffic_is_told_in_the_unit_in_which_a_request_comes(project: Path) -> None:
    """Three requests in ten hours are said by the day, not as 0.005 a minute."""
    write(project, {**POLICY, "traffic": {"requests_per_minute": 0.005}})
    assert "at 7.2 requests a day" in lint(project).output


def test_durations_and_looks_are_told_as_people_write_them(project: Path) -> None:
    """Every stage says how long it lasts, how often it looks and how many looks that makes."""
    steps = [{"weight": 50, "hold": {"for": "1h", "every": "5m", "gates": ["errors"]}}]
    write(project, {**POLICY, "steps": steps, "bake": {"for": "480s", "gates": ["errors"]}})
    said = lint(project).output
    assert "weight 50 %: 1 h, looks every 5 min: 12 looks" in said
    assert "bake: 8 min, looks every 40 s: 12 looks" in said
    assert "looks at once, then every 1 h until it is decided" in said
    assert not re.search(r"0\.00\d+ days|\d+ minutes|e-0\d", said)


def test_the_shipped_example_can_pass_an_equal_version() -> None:
    """`surefoot lint --strict` has no warning for the example, and each of its gates passes an equal version."""
    root = Path(__file__).parents[2]
    said = lint(root, "flights-late", "--strict", "--json")
    assert said.return_value == 0
    (policy,) = json.loads(said.output)["policies"]
    assert all(step["warning"] == "" for step in policy["steps"])
    assert all(step["passes"] > 0.7 for step in policy["steps"])
    assert policy["false_rollbacks_a_year"] < 1.0


def with_tables(*tables: dict[str, object]) -> dict[str, object]:
    """The policy with tables that follow a rollback."""
    return {**POLICY, "bake": {"for": "14d", "gates": ["errors"]}, "data_layer": list(tables)}


def test_a_table_that_is_not_here_is_a_note(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that this host does not have, or whose URL is not set here, is said and refuses nothing."""
    monkeypatch.delenv("ROWS_URL", raising=False)
    sql = {"kind": "sql", "url_variable": "ROWS_URL", "table": "t", "valid_from": "at", "version_column": "v"}
    write(
        project,
        with_tables(
            {"name": "rows", **sql},
            {"name": "files", "kind": "parquet", "path": "files"},
            {"name": "lake", "kind": "delta", "path": "lake", "on_rollback": "restore", "consumers": ["billing"]},
        ),
    )
    said = lint(project)
    assert said.return_value == 0
    for line in (
        "environment variable ROWS_URL of table rows is not set here",
        "the folder of table files is not on this host",
        "table lake is not on this host",
        "a restore of table lake counts as new data for its consumers (billing)",
    ):
        assert f"note: {line}" in said.output


@pytest.mark.parametrize(
    ("retention", "reaction", "refused"),
    [(None, "restore", True), ("interval 15 days", "restore", False), (None, "correct", False)],
)
def test_a_table_that_vacuum_may_empty_first_is_refused(
    project: Path, retention: str | None, reaction: str, refused: bool
) -> None:
    """A Delta Lake table whose files may be vacuumed before ramp and bake are over is an error, with what to set."""
    configuration = {"delta.deletedFileRetentionDuration": retention} if retention else {}
    write_deltalake(project / "lake", pa.table({"a": [1]}), configuration=configuration)
    write(project, with_tables({"name": "lake", "kind": "delta", "path": "lake", "on_rollback": reaction}))
    said = lint(project)
    assert said.return_value == (2 if refused else 0)
    line = "is 7 d, ramp and bake take 14 d: set it to 'interval 15 days' or more"
    assert (line in said.output) == refused, said.output
    number = (project / "configs" / "m.yaml").read_text().splitlines().index("data_layer:") + 2
    assert (f"m.yaml:{number}: table lake" in said.output) == refused
