"""Run the demo scenario, in which three candidates challenge a champion."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd
from sklearn.pipeline import Pipeline

from surefoot.core.domain import Outcome, Stage
from surefoot.core.errors import Unavailable
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.demo.flight_requests import FEATURES, fill_gaps, midnight
from surefoot.demo.model_versions import VersionRecipe, move_alias, move_to_staging, register_version
from surefoot.demo.predictions_table import PredictionsTable
from surefoot.demo.traffic_replay import CallerCounts, TrafficReplay

REPLAY_START, JULY_START = midnight("2013-06-01"), midnight("2013-07-01")
FEATURE_GAPS_BEGIN_AT = midnight("2013-07-06")
"""The upstream feature service stops filling gaps on this day: requests carry the gaps that the data really has."""
EVERY_NTH_FLIGHT = 3
"""Every third flight is replayed; the whole year tells the same story three times as slowly."""
_SLOW_RATE = 6.0
"""Requests a second while a scene is being set."""
_FAST_RATE = 250.0
"""Requests a second while a rollout waits for live traffic: most of a day of the replay."""
_PATIENT_RATE = 60.0
"""Requests a second once a look has all requests that it needs: more would only take the processors from it."""
_BAKE_S = 15.5 * 86400.0
"""The policy's bake, the maturity of its labels, and a day for the look [seconds of the replay]."""
_EARLY_S, _MATURE_S = (9.0 * 86400.0, 13.0 * 86400.0), 17.0 * 86400.0
"""When the watch sees the changed feed without labels, and when it has measured the harm [seconds after the change]."""
_SCENE_TIMEOUT_S = 600.0
"""Longest real time of one scene [seconds]."""


class DemoActions(Protocol):
    """Actions on the running stack that the scenario needs; the command line provides them."""

    mlflow: str
    gateway: str

    def ledger(self) -> Ledger:
        """The state of the model."""
        ...

    def entries(self, after: int) -> tuple[Entry, ...]:
        """Journal entries above a sequence."""
        ...

    def adopt(self) -> None:
        """Serve the champion that the registry names."""
        ...

    def approve(self) -> None:
        """Let the release manager sign what the rollout waits for."""
        ...

    def start_promotion(self, number: str, reason: str) -> None:
        """Start a run of the deployment `promote`, as the form in Prefect does."""
        ...

    def announce(self, text: str) -> None:
        """Tell the audience."""
        ...

    def show(self, entry: Entry) -> None:
        """Show one journal entry."""
        ...


@dataclass
class DemoCandidate:
    """The rollout of one candidate of the demo.

    Attributes:
        story: Letter of the scene.
        title: What the data scientist believed.
        number: Version.
        rollout: Id of its rollout; empty when none was opened.
    """

    story: str
    title: str
    number: str
    rollout: str = ""


@dataclass
class DemoScenario:
    """Plays the demo, one candidate after another, and records the result of each."""

    theatre: DemoActions
    flights: pd.DataFrame
    replay: TrafficReplay
    table: PredictionsTable
    scenes: list[DemoCandidate] = field(default_factory=list)
    shown: int = 0
    written_at: float = 0.0
    saw_feed_change: bool = False

    def prepare(self, training: Sequence[tuple[VersionRecipe, Pipeline, str]]) -> None:
        """Register every version; the first is the champion."""
        example = fill_gaps(self.flights.head(500))
        for recipe, trained, digest in training:
            number = register_version(self.theatre.mlflow, recipe, trained, digest, example[list(FEATURES)])
            if recipe.story:
                self.scenes.append(DemoCandidate(recipe.story, recipe.title, number))
            else:
                move_alias(self.theatre.mlflow, "champion", number)
            self.theatre.announce(f"registered version {number}: {recipe.title}")

    def first_answer(self) -> CallerCounts:
        """Serve the champion, send the first requests, and return what their callers saw."""
        self.theatre.adopt()
        self.replay.start()
        self.replay.run_to(REPLAY_START + 3600.0)
        self.replay.wait(_SCENE_TIMEOUT_S)
        return self.replay.seen

    def play(self) -> None:
        """All scenes, in order of time."""
        self.theatre.adopt()
        self.replay.start()
        self.theatre.announce("June: the champion answers, labels arrive when the planes have landed")
        self.replay.run_to(JULY_START)
        self.replay.wait(_SCENE_TIMEOUT_S)
        self._write_predictions(self.theatre.ledger())
        by_story = {scene.story: scene for scene in self.scenes}
        self._scene(by_story["b"], lambda _ledger: False)
        self._scene(by_story["c"], _ramping)
        self.theatre.announce("6 July: the feature service has stopped filling gaps; from here on requests carry them")
        self._scene(by_story["a"], _ramping)
        self._decay()
        self.replay.run_to(self.replay.now + 86400.0)
        self.replay.wait(_SCENE_TIMEOUT_S)
        self._write_predictions(self.theatre.ledger())

    def _write_predictions(self, ledger: Ledger) -> None:
        """Do the nightly job: write what the champion has answered, while no rollout or restore is under way."""
        over = self.replay.now >= self.written_at + 86400.0
        if ledger.open or ledger.data.due or ledger.champion is None or not over:
            return
        self.written_at = self.replay.now
        self.table.write(self.replay.take_answers(), ledger.champion.number, self.written_at)

    def _decay(self) -> None:
        """Let the promoted version decay, and time pass until the watch has taken it back."""
        self.theatre.announce("without notice, the weather provider sends the pressure in pascal instead of hPa")
        self.replay.pressure_unit = 100.0
        changed = self.replay.now
        deadline = time.monotonic() + _SCENE_TIMEOUT_S
        while time.monotonic() < deadline:
            ledger = self.theatre.ledger()
            self._show()
            self._write_predictions(ledger)
            taken_back = any(r.stage.is_terminal for r in ledger.rollouts.values() if r.opened.kind == "rollback")
            if taken_back and not any(not due.refused for due in ledger.data.due.values()) and _reported(ledger):
                return
            if taken_back:  # the next ticks restore the table and report the incident: callers go on at their own pace
                self.replay.run_to(self.replay.now + 600.0, _SLOW_RATE)
                time.sleep(0.2)
                continue
            # What needs no labels is seen before the harm is measured: a look that has the last week for itself comes
            # before a fortnight has passed. A look is journalled days later than it has read on a slow machine.
            passed = self.replay.now - changed
            if _EARLY_S[0] <= passed < _EARLY_S[1] and not self.saw_feed_change:
                self.replay.run_to(self.replay.now + 600.0, _SLOW_RATE)
            elif passed < _MATURE_S:
                early = passed < _EARLY_S[0] and not self.saw_feed_change
                self.replay.run_to(changed + (_EARLY_S[0] if early else _MATURE_S))
            else:
                self.replay.run_to(self.replay.now + 12 * 3600.0, _PATIENT_RATE)
            self.replay.check()
            time.sleep(0.2)
        raise Unavailable(f"the promoted version was not taken back within {_SCENE_TIMEOUT_S:.0f} s")

    def _scene(self, scene: DemoCandidate, hurry: Callable[[Ledger], bool]) -> None:
        """Ask for a version, then let time pass until its rollout has ended; traffic speeds up once `hurry` holds."""
        self._ask_for(scene)
        deadline = time.monotonic() + _SCENE_TIMEOUT_S
        while time.monotonic() < deadline:
            self._show()
            ledger = self.theatre.ledger()
            self._write_predictions(ledger)
            mine = next((r for r in ledger.rollouts.values() if r.opened.candidate.number == scene.number), None)
            if mine:
                scene.rollout = mine.opened.rollout
                if mine.stage.is_terminal:
                    return
                if _waits_for_approval(mine):
                    self.theatre.approve()
                if mine.paused and mine.paused.outcome is Outcome.ERROR:
                    raise Unavailable(f"scene ({scene.story}) stands still: {mine.reason}")
            if mine is None or not hurry(ledger):
                self.replay.run_to(self.replay.now + 600.0, _SLOW_RATE)
            else:
                baked = mine.stage is Stage.BAKING and self.replay.now > mine.entered_at + _BAKE_S
                self.replay.run_to(self.replay.now + 12 * 3600.0, _PATIENT_RATE if baked else _FAST_RATE)
            self.replay.check()
            time.sleep(0.2)
        raise Unavailable(f"scene ({scene.story}) did not end within {_SCENE_TIMEOUT_S:.0f} s")

    def _ask_for(self, scene: DemoCandidate) -> None:
        """Ask for a version in the way of its scene: there are four, the schedule's rollback among them."""
        number, title = scene.number, scene.title
        if scene.story == "b":
            self.theatre.announce(f"(b) an operator starts 'promote' in Prefect for version {number}: {title}")
            self.theatre.start_promotion(number, "retrained for the summer")
        elif scene.story == "c":
            self.theatre.announce(f"(c) the data scientist moves version {number} to stage 'Staging': {title}")
            move_to_staging(self.theatre.mlflow, number)
        else:
            self.theatre.announce(
                f"({scene.story}) the data scientist moves alias 'candidate' to version {number}: {title}"
            )
            move_alias(self.theatre.mlflow, "candidate", number)

    def _show(self) -> None:
        for entry in self.theatre.entries(self.shown):
            self.shown = entry.seq
            self.saw_feed_change |= entry.kind == "ChampionWatched" and "pressure" in str(entry.data["early"])
            self.theatre.show(entry)


def _reported(ledger: Ledger) -> bool:
    """Whether each version that was taken back has an incident whose report says who was affected, and why."""
    told = [one for one in ledger.incidents.known.values() if one.rollback]
    return not ledger.incidents.decided and all(one.triaged is not None and not one.report_due for one in told)


def _waits_for_approval(rollout: Rollout) -> bool:
    """Whether a person has to sign before a rollout goes on."""
    return rollout.stage is Stage.AWAITING_APPROVAL and not rollout.approvals.given and not rollout.ending


def _ramping(ledger: Ledger) -> bool:
    """Whether live traffic is what the rollout waits for."""
    rollout = ledger.rollout
    return rollout is not None and rollout.stage.value in {"Ramping", "Promoting", "Baking"}
