"""Define the interface to the flow scheduler Prefect, and the names of its states and tags."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from surefoot.rollout import CancelledRun

NOTHING_TO_DO_STATE = "Nothing to do"
"""Name of the last state of a scheduled run that found nothing to do; such runs are taken off the list."""

ROLLOUT_TAG_PREFIX = "rollout:"
"""Begins the tag that says which rollout a flow run drives."""


def find_rollout_in_tags(tags: Iterable[str]) -> str:
    """Id of the rollout that a flow run drives, from its tags; empty when none says so."""
    found = (tag.removeprefix(ROLLOUT_TAG_PREFIX) for tag in tags if tag.startswith(ROLLOUT_TAG_PREFIX))
    return next(found, "")


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """One run of a scheduled flow that the scheduler has planned, or that is under way.

    Attributes:
        id: Id of the run.
        flow: Name of the flow.
        due: When it is to start [Unix seconds of the host].
        waiting: Whether it has not been started yet.
        scheduled: Whether the schedule has made it, and no person.
        running: Whether its process has said that it runs.
        since: When it came to the state that it is in [Unix seconds of the host]; infinity where that is not known.
    """

    id: str
    flow: str
    due: float
    waiting: bool
    scheduled: bool
    running: bool = False
    since: float = math.inf


@dataclass(frozen=True, slots=True)
class PromoteRun:
    """A run of a promotion that is not over.

    Attributes:
        id: Id of the run.
        model: Registered model.
        started: When its process began [Unix seconds of the host]; None before that, and while it does not run.
    """

    id: str
    model: str
    started: float | None


class Scheduler(Protocol):
    """The scheduler of the flows; every method raises Unavailable when it does not answer."""

    def scheduled_runs(self, until: float) -> Sequence[ScheduledRun]:
        """Runs of the scheduled flows that are under way, or due until a time [Unix seconds]; the earliest first."""
        ...

    def skip_runs(self, runs: Sequence[ScheduledRun]) -> None:
        """End runs that have nothing to do before they begin; one that has been started meanwhile goes on."""
        ...

    def is_paused(self, flow: str) -> bool:
        """Whether a person has paused the schedule of a flow."""
        ...

    def mark_crashed(self, runs: Collection[str]) -> None:
        """End runs whose process is gone: what they hold of the scheduler is free again."""
        ...

    def delete_skipped_runs(self) -> None:
        """Take scheduled runs off the list that had nothing to do, and are not due any more."""
        ...

    def promote_runs(self) -> Sequence[PromoteRun]:
        """Promotions that are not over."""
        ...

    def offer_choices(self, choices: Mapping[str, Sequence[str]]) -> None:
        """Let people choose among these models and versions in the forms of the flows."""
        ...

    def cancelled_runs(self, models: Collection[str]) -> Sequence[CancelledRun]:
        """Promotions of these models that a person has cancelled, whatever they said afterwards; the latest first."""
        ...

    def silent_runs(self, runs: Collection[str], since: float) -> Collection[str]:
        """Which of these runs have sent no heartbeat since a time [Unix seconds of the host]."""
        ...
