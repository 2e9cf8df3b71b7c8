"""A table of answers is the fallback of a model: read before traffic, refused in one line when wrong, and drilled."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from surefoot.adapters.config.policy_fallback import read_fallback_answer
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.cli import main
from surefoot.core.errors import FallbackInvalid
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.rollout import check_fallback, is_fallback_check_due
from tests.fakes import POLICY
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import RAISING, listening
from tests.integration.gateway_process import Models

TABLE = "unit,y,answer\nN1,2.0,0.25\nN1,,0.5\n,,0.75\n"
SECTION = {"table": {"file": "answers/flights.csv", "keys": ["unit", "y"]}}


def policy_of(section: object) -> Policy:
    """A policy with this fallback."""
    return parse_policy({**POLICY, "model": MODEL, "fallback": section})


def write_table(project: Path, text: str = TABLE) -> None:
    """Write the file of the table."""
    (project / "answers").mkdir(parents=True, exist_ok=True)
    (project / "answers" / "flights.csv").write_text(text)


def write_policy(project: Path, section: object = SECTION) -> None:
    """Write the policy of the model."""
    (project / "configs").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**POLICY, "model": MODEL, "unit": "unit", "fallback": section})
    (project / "configs" / f"{MODEL}.yaml").write_text(text)


def test_each_row_gets_the_answer_of_its_key(tmp_path: Path, models: Models) -> None:
    """Keys are compared as canonical texts; a row without an entry, and one without the columns, get the default."""
    project = tmp_path / "project"
    write_table(project)
    write_policy(project)
    view = SettingByModel(project / "configs", lambda policy: read_fallback_answer(project, policy))
    with listening(tmp_path / "gateway", models, fallbacks=view) as gateway:
        gateway.shift(0, None, RAISING)
        rows = [("N1", 2), ("N1", 3), ("N2", 2.0)]
        answer = gateway.post({"dataframe_records": [{"unit": unit, "x": 1.0, "y": y} for unit, y in rows]})
        assert answer.json() == {"predictions": [0.25, 0.75, 0.75]}
        assert answer.headers["x-surefoot-fallback"] == "table"
        assert [one["fallback_answer"] for one in gateway.records()] == [0.25, 0.75, 0.75]
        assert {(one["fallback"], one["rung"], one["answered_by"]) for one in gateway.records()} == {
            ("table", "fallback", None)
        }


def test_a_parquet_file_says_the_same(tmp_path: Path) -> None:
    """Typed keys have the texts that requests have; the digest is that of the file."""
    write_table(tmp_path)
    frame = pd.DataFrame({"unit": ["N1", "N1", None], "y": [2.0, None, None], "answer": [0.25, 0.5, 0.75]})
    frame.to_parquet(tmp_path / "answers" / "flights.parquet")
    text = read_fallback_answer(tmp_path, policy_of(SECTION))
    typed = read_fallback_answer(
        tmp_path, policy_of({"table": {**SECTION["table"], "file": "answers/flights.parquet"}})
    )
    assert text is not None
    assert typed is not None
    assert (text.answers, text.json) == (typed.answers, typed.json)
    assert text.digest.startswith("sha256:")
    assert text.digest != typed.digest


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "there is no such file"),
        ("unit,answer\n,1\n", "column 'y' is missing; it has unit, answer"),
        ("unit,y,answer\nN1,1,0.5\n", "the row without a key is missing"),
        ("unit,y,answer\n,,1\n,,2\n", "row 2 has no key, and so has an earlier one"),
        ("unit,y,answer\n,,1\nN1,1.0,2\nN1,1,2\n", "row 3 has the key of an earlier one: unit=N1, y=1"),
        ("unit,y,answer\n,,late\n", "the answer of row 1 is no JSON: 'late'"),
        ("unit,y,answer\n,,NaN\n", "the answer of row 1 cannot be given"),
        ("unit,y,answer\n,,null\n", "the answer of row 1 cannot be given: null is no answer"),
        ("", "fallback.table of flights: answers/flights.csv: "),
        ("unit,y,answer\n,\n", "fallback.table of flights: answers/flights.csv: "),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str | None, why: str
) -> None:
    """The error names file, row and reason; `surefoot lint` says it at the line of the policy."""
    write_policy(tmp_path)
    if text is not None:
        write_table(tmp_path, text)
    with pytest.raises(FallbackInvalid) as caught:
        read_fallback_answer(tmp_path, policy_of(SECTION))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("sys.argv", ["surefoot", "lint", "--project", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "fallback.table of flights" in " ".join(capfd.readouterr().out.split())


def test_a_drill_asks_what_the_log_holds(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """An answer of another shape than the champion's is told by command, journal and status; the right one is not."""
    for number in range(5):
        emergency.gateway.ask(unit=f"N{number}")
    write_table(emergency.home)
    write_policy(emergency.home)
    assert emergency.command("fallback", MODEL, "--drill") == 1
    shown = " ".join(capfd.readouterr().out.split())
    assert "it answers a number, and the champion answers a list of 2 numbers" in shown
    assert emergency.command("status", "--json") == 1
    assert "fallback table was asked 5 logged rows" in capfd.readouterr().out
    write_table(emergency.home, 'unit,y,answer\n,,"[0.8, 0.2]"\nN1,2,"[0.7, 0.3]"\n')
    assert emergency.command("fallback", MODEL, "--drill", "--json") == 0
    assert '"problem": ""' in capfd.readouterr().out
    ledger = emergency.ports.ledger(MODEL)
    assert ledger.drilled is not None
    found, at = ledger.drilled
    assert (found.rows, found.problem, found.kind) == (5, "", "table")
    assert not is_fallback_check_due(ledger, at + 86399.0)
    assert is_fallback_check_due(ledger, at + 86400.0)
    write_table(emergency.home, "unit,y,answer\n")
    assert emergency.command("fallback", MODEL) == 2


def test_a_constant_and_no_fallback_are_drilled_too(emergency: Emergency) -> None:
    """A constant is asked the same rows; without a fallback the command says so and nothing is journalled."""
    write_policy(emergency.home, {"constant": [0.5, 0.5]})
    assert emergency.command("fallback", MODEL, "--drill") == 0
    write_policy(emergency.home, {"refuse": True})
    before = emergency.ports.ledger(MODEL).head
    assert emergency.command("fallback", MODEL, "--drill") == 2
    assert check_fallback(emergency.ports, MODEL) is None
    assert emergency.ports.ledger(MODEL).head == before
