"""A journal and a prediction log of a history that a test writes, and commands that read them at a fixed time."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.cli import main
from surefoot.core.domain import RolloutKind, Stage, Version
from surefoot.core.journal.events import (
    ChampionAdopted,
    EffectDone,
    EffectIntended,
    EndDecided,
    Event,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
)
from surefoot.rollout import Ports
from surefoot.settings import Settings

ONE, TWO = Version("1", "sha256:" + "1" * 64), Version("2", "sha256:" + "2" * 64)
HOUR = 3600.0
POLICY = {
    "model": "m",
    "traffic": {"requests_per_minute": 600},
    "data": {"suite": "m"},
    "gates": {
        "errors": {"metric": "error_rate", "margin": "1pp"},
        "quality": {"metric": "brier", "margin": 0.01, "labels": {"maturity": "10s", "coverage": 0.5}},
    },
    "steps": [
        {"shadow": {"window": "7d", "gates": ["quality"]}},
        {"weight": 20, "hold": {"for": "10m", "gates": ["errors"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
}


class Stack:
    """A journal and a log, and commands that read them; time is what the test says."""

    def __init__(self, home: Path, one: Version = ONE, two: Version = TWO, **policy: object) -> None:
        self.home, self.one, self.two = home, one, two
        self.policy: dict[str, Any] = {**POLICY, **policy}
        home.mkdir()
        (home / "configs").mkdir()
        (home / "configs" / "m.yaml").write_text(yaml.safe_dump(self.policy), encoding="utf-8")
        self.config = Settings(home, home, "http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9", "t")
        self.config.save()
        self.journal = SqlJournal(self.config.journal_url, SystemClock())
        self.ports = Ports(self.journal, None, None, None, Clock(), "test")  # type: ignore[arg-type]

    def append(self, at: float, *events: Event) -> None:
        """Journal events at a time."""
        for event in events:
            ports = Ports(self.journal, None, None, None, Clock(at), "test")  # type: ignore[arg-type]
            ports.append(ports.ledger("m"), event)

    def split(self, at: float, effect: SetSplit, rollout: str = "") -> int:
        """Journal a split that is in force at once; its generation."""
        self.append(at, EffectIntended(rollout, effect))
        seq = self.ports.ledger("m").head
        self.append(at, EffectDone(rollout, seq, False, 1.0))
        return seq

    def history(self, *judged: Event) -> None:
        """Version 1 serves for ten hours, version 2 has 20 % for two (generation `canary`), and is rolled back.

        Args:
            judged: What gates answer, a minute before the end of the two hours.
        """
        one, two = self.one, self.two
        self.append(0.0, ChampionAdopted(one))
        self.split(0.0, SetSplit(one, None, 0.0))
        opened = RolloutOpened("r1", RolloutKind.PROMOTION, two, one, self.policy, "", "", "salt", 1, "try")
        self.append(10 * HOUR, opened, StageEntered("r1", Stage.RAMPING, 0, "go"))
        self.canary = self.split(10 * HOUR, SetSplit(one, two, 20.0), "r1")
        self.append(12 * HOUR - 60.0, *judged)
        self.append(12 * HOUR, EndDecided("r1", Stage.ROLLED_BACK, "errors", "errors is FAIL"))
        self.split(12 * HOUR, SetSplit(one, None, 0.0), "r1")
        self.append(12 * HOUR, RolloutEnded("r1", Stage.ROLLED_BACK, "errors is FAIL"))

    def command(self, *words: str) -> int:
        """Run a command in this process; its exit code."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["surefoot", *words])
            patch.setenv("SUREFOOT_HOME", str(self.home))
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0)


class Clock:
    """A clock that stands."""

    def __init__(self, now: float = 13 * HOUR) -> None:
        self.time = now

    def now(self) -> float:
        """The time."""
        return self.time

    def wall(self) -> float:
        """The time."""
        return self.time

    def monotonic(self) -> float:
        """The time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Do not."""
