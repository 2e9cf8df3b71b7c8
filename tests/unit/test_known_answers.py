"""The judge agrees with comparisons whose answer was published, and would not if they had come out otherwise."""

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bench import known_answers
from bench.known_answers import CHECKS, main, read_comparisons

KNOWN = read_comparisons()
NAMES = (
    "cookie_cats_ret7",
    "cookie_cats_ret1",
    "cookie_cats_srm",
    "salk_polio_1954",
    "sammpris_2011",
    "mammogram_canada",
    "ucb_admissions_1973",
    "resume_callback_2004",
    "agresti_mcnemar",
    "pyperf_[1,2]*1000_py37",
    "pyperf_[1]*1000_py38",
    "kayenta_mwu_small",
    "bhat_1981",
)


def other(name: str, **data: Any) -> dict[str, Any]:
    """The same comparison with other counts."""
    made = deepcopy(KNOWN[name])
    made["data"] |= data
    return made


def swapped(name: str, *keys: str) -> dict[str, Any]:
    """The same comparison with the arms the other way round."""
    return other(name, **{key: KNOWN[name]["data"][key][::-1] for key in keys})


def biased() -> dict[str, Any]:
    """Admissions with every second woman who was admitted rejected instead, in every department."""
    made = deepcopy(KNOWN["ucb_admissions_1973"])
    cells = {(row["Dept"], row["Gender"], row["Admit"]): row for row in made["data"]["table"]}
    for dept in "ABCDEF":
        moved = cells[dept, "Female", "Admitted"]["Freq"] // 2
        cells[dept, "Female", "Admitted"]["Freq"] -= moved
        cells[dept, "Female", "Rejected"]["Freq"] += moved
    return made


RETURNS, RESUME, SLOWER = "cookie_cats_ret7", KNOWN["resume_callback_2004"]["data"], "pyperf_[1,2]*1000_py37"
OTHERWISE = {
    "cookie_cats_ret7": swapped(RETURNS, "n", "success"),
    "cookie_cats_ret1": other("cookie_cats_ret1", success=KNOWN[RETURNS]["data"]["success"]),
    "cookie_cats_srm": other("cookie_cats_srm", n=[40_000, 45_489]),
    "salk_polio_1954": swapped("salk_polio_1954", "n", "event"),
    "sammpris_2011": swapped("sammpris_2011", "n", "event"),
    "mammogram_canada": other(
        "mammogram_canada",
        table={"no": {"control": 44405, "mammogram": 43425}, "yes": {"control": 505, "mammogram": 1500}},
    ),
    "ucb_admissions_1973": biased(),
    "resume_callback_2004": other("resume_callback_2004", white=RESUME["black"], black=RESUME["white"]),
    "agresti_mcnemar": other("agresti_mcnemar", table=[[794, 86], [150, 570]]),
    "pyperf_[1,2]*1000_py37": other(SLOWER, new=KNOWN[SLOWER]["data"]["base"], base=KNOWN[SLOWER]["data"]["new"]),
    "pyperf_[1]*1000_py38": other("pyperf_[1]*1000_py38", **KNOWN[SLOWER]["data"]),
    "kayenta_mwu_small": other("kayenta_mwu_small", experiment=[11, 20, 30, 40]),
    "bhat_1981": other("bhat_1981", events=[188, 1921, 138, 1916]),
}
"""The same comparisons as they did not come out: arms swapped, or the harm where there was none."""


def test_every_comparison_is_there() -> None:
    """All thirteen comparisons have their counts, their source and their check, and no other has."""
    assert tuple(KNOWN) == tuple(CHECKS) == tuple(OTHERWISE) == NAMES
    assert all(record["published"] and record["source"] and record["data"] for record in KNOWN.values())


@pytest.mark.parametrize("name", NAMES)
def test_judge_agrees_with_what_was_published(name: str) -> None:
    """The judge says of this comparison what was published of it."""
    said = CHECKS[name](KNOWN[name])
    assert said.ok, f"{said.outcome}, where {said.demand} was demanded: {said.reason}"


@pytest.mark.parametrize("name", NAMES)
def test_judge_disagrees_when_it_came_out_otherwise(name: str) -> None:
    """Counts that say something else miss the same demand."""
    said = CHECKS[name](OTHERWISE[name])
    assert not said.ok, f"{said.outcome}: {said.reason}"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("cookie_cats_ret7", "PASS"),
        ("cookie_cats_ret1", "FAIL"),
        ("cookie_cats_srm", "INCONCLUSIVE: split broken; tenfold broken"),
        ("salk_polio_1954", "FAIL"),
        ("sammpris_2011", "PASS"),
        ("mammogram_canada", "FAIL"),
        ("ucb_admissions_1973", "FAIL pooled, FAIL by department"),
        ("resume_callback_2004", "PASS"),
        ("agresti_mcnemar", "PASS"),
        ("pyperf_[1,2]*1000_py37", "PASS"),
        ("pyperf_[1]*1000_py38", "FAIL"),
        ("bhat_1981", "FAIL"),
    ],
)
def test_other_counts_lead_to_another_outcome(name: str, outcome: str) -> None:
    """The outcome itself turns round with the counts, not only the mark beside it."""
    assert CHECKS[name](OTHERWISE[name]).outcome == outcome


@pytest.mark.parametrize(("made", "code"), [(KNOWN, 0), (OTHERWISE, 1)])
def test_one_disagreement_is_the_exit_code(
    made: dict[str, Any], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bench ends with 1 when one comparison disagrees, and its rows say which and why."""
    given = {"salk_polio_1954": KNOWN["salk_polio_1954"], "bhat_1981": made["bhat_1981"]}
    monkeypatch.setattr(known_answers, "read_comparisons", lambda: given)
    monkeypatch.setattr(sys, "argv", ["known_answers", "--json", str(tmp_path / "rows.json")])
    assert main() == code
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["name"], row["ok"]) for row in rows] == [("salk_polio_1954", True), ("bhat_1981", not code)]
    assert all(row["reason"] and row["demand"] and row["unit"] == "nats" for row in rows)


def test_harm_and_safety_are_shown() -> None:
    """A row shows its estimate, its interval and how sure both sides are."""
    assert CHECKS["bhat_1981"](KNOWN["bhat_1981"]).reason.startswith("-2.58 points [-4.47, +0.0586]; harm e = 0.21,")
