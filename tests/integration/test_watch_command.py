"""`surefoot watch` shows what a look at the champion reads, and journals a look that is asked for."""

import json
import time
from pathlib import Path
from typing import Any, cast

import pytest

from surefoot.core.champion_watch.day_counts import DAY_S
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.events import ChampionAdopted, RolloutEnded, RolloutOpened, SetSplit, StageEntered
from tests.integration.served_stack import ONE, POLICY, TWO, Stack
from tests.integration.test_logged_days import LAST, usual

PAST_DAYS = 10


def promoted(home: Path, **watch: object) -> Stack:
    """Version 2 was promoted ten days ago, and its policy has it watched."""
    gates = cast("dict[str, dict[str, Any]]", POLICY["gates"])
    quality = {**gates["quality"], "labels": {"maturity": "6h", "coverage": 0.5}}
    stack = Stack(home, watch={"every": "1d", **watch}, gates={**gates, "quality": quality})
    at = time.time() - PAST_DAYS * DAY_S
    stack.append(at, ChampionAdopted(ONE))
    stack.split(at, SetSplit(ONE, None, 0.0))
    opened = RolloutOpened("r1", RolloutKind.PROMOTION, TWO, ONE, stack.policy, "", "", "salt", 1, "try")
    stack.append(at, opened, StageEntered("r1", Stage.PROMOTING, 0, "go"))
    stack.split(at, SetSplit(TWO, None, 0.0), "r1")
    stack.append(at, RolloutEnded("r1", Stage.PROMOTED, "baked"))
    return stack


def log(stack: Stack, *, late: bool) -> None:
    """Twelve weeks of requests until yesterday, of which the last nine days may all have come true."""
    shift = (int(time.time() // DAY_S) - 1 - LAST) * DAY_S
    requests, labels = usual()
    for one in (*requests, *labels):
        one["at"] = float(str(one["at"])) + shift
    for one in labels:
        if late and float(str(one["at"])) >= (LAST - 8) * DAY_S + shift:
            one["label"] = 1
    folder = stack.config.log / "m"
    folder.mkdir(parents=True)
    for kind, records in (("predictions", requests), ("labels", labels)):
        (folder / f"{kind}-1-1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))


def kinds(stack: Stack) -> list[str]:
    """Kinds of the events that the watch has journalled."""
    watched = {"ChampionWatched", "ChampionJudged", "IncidentOpened"}
    return [entry.kind for entry in stack.journal.read("m") if entry.kind in watched]


def test_a_quiet_champion_is_shown_and_not_journalled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each signal stands with its past, its present and what would be an alarm; looking changes nothing, exit 0."""
    stack = promoted(tmp_path / "home")
    log(stack, late=False)
    assert stack.command("watch", "m") == 0
    said = capsys.readouterr().out
    for word in ("champion 2 of m", "base rate", "25.00%", "input drift of price", "prediction drift", "ok"):
        assert word in said
    assert kinds(stack) == []


def test_a_look_that_is_asked_for_is_journalled_and_opens_the_incident(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--look` the alarm is journalled once with its incident, is told as JSON, and the exit code is 1."""
    stack = promoted(tmp_path / "home")
    log(stack, late=True)
    assert stack.command("watch", "m", "--look", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    alarms = [one["name"] for one in told["signals"] if one["outcome"] == "FAIL"]
    assert alarms == ["base rate", "calibration"]
    assert (told["version"], told["served"]) == ("2", "2")
    assert kinds(stack) == ["ChampionWatched", "IncidentOpened"]
    assert stack.command("watch", "m", "--look", "--json") == 1
    assert kinds(stack) == ["ChampionWatched", "IncidentOpened", "ChampionWatched"]
    capsys.readouterr()
    assert stack.command("history", "m") == 0
    assert "incident" in capsys.readouterr().out


def test_status_tells_an_open_incident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the last look has found stands in `status`."""
    stack = promoted(tmp_path / "home")
    log(stack, late=True)
    stack.command("watch", "m", "--look")
    capsys.readouterr()
    stack.command("status", "m")
    said = " ".join(capsys.readouterr().out.split())
    assert "watched" in said
    assert "base rate" in said


def test_a_champion_without_a_watch_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A champion that was found, or whose policy says nothing, cannot be looked at: exit 2 and the reason."""
    stack = Stack(tmp_path / "home")
    stack.append(time.time(), ChampionAdopted(ONE))
    assert stack.command("watch", "m") == 2
    assert "its policy had no 'watch'" in capsys.readouterr().err
