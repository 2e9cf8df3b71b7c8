"""Find the latest checks of each version in the journal: rollback drills, fallback checks and table checkpoints."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from surefoot.core.drills.drill_events import DrillFinished, describe_drill_problems
from surefoot.core.drills.drill_state import TABLETOP_MODE
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import RolloutOpened, decode_event
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.tables.data_events import DataCheckpointed, DataCheckpointRefused, DataProved

_FALLBACK_CHECK = "fallback"
"""What was tried where a version was asked logged rows as the policy's fallback."""
_ROLLBACK_DRILL = "rollback"
"""What was tried where a rollback to the version was rehearsed."""


@dataclass(frozen=True, slots=True)
class VersionChecks:
    """What the last tests that concern one version have found.

    Attributes:
        at: When the latest one was [Unix seconds].
        tried: What was tried: "rollback", "fallback", or "table" with a name.
        problems: What the latest test of each of these has found to be wrong, one text each; none where all passed.
    """

    at: float
    tried: tuple[str, ...]
    problems: tuple[str, ...]


def latest_checks(model: str, entries: Iterable[Entry]) -> Mapping[str, VersionChecks]:
    """The latest checks of each version that had any, by its number.

    A checkpoint of a table concerns the version that served until it was taken: a rollback to that one restores it.

    Args:
        model: Registered model of the journal.
        entries: The whole journal of the model.
    """
    found: defaultdict[str, dict[str, tuple[float, str]]] = defaultdict(dict)
    opened: dict[str, str] = {}
    checkpoints: dict[int, str] = {}
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        match event:
            case RolloutOpened():
                opened[event.rollout] = event.champion.number
            case FallbackDrilled(source=source) if source is not None and source.model == model:
                found[source.number][_FALLBACK_CHECK] = entry.at, event.problem
            case DrillFinished(target=target) if target and event.mode != TABLETOP_MODE and event.live is None:
                found[target.number][_ROLLBACK_DRILL] = entry.at, describe_drill_problems(event)
            case DataCheckpointed() if event.rollout in opened:
                checkpoints[entry.seq] = opened[event.rollout]
                if event.proved:
                    found[opened[event.rollout]][_table(event.name)] = entry.at, ""
            case DataCheckpointRefused() if event.rollout in opened:
                found[opened[event.rollout]][_table(event.name)] = entry.at, event.reason
            case DataProved() if event.checkpoint in checkpoints:
                found[checkpoints[event.checkpoint]][_table(event.name)] = entry.at, event.problem
            case _:
                pass
    return {number: _summed(results) for number, results in found.items()}


def _table(name: str) -> str:
    return f"table {name}"


def _summed(results: Mapping[str, tuple[float, str]]) -> VersionChecks:
    """The latest result of each thing that was tried, as one."""
    problems = tuple(f"{what}: {problem}" for what, (_, problem) in results.items() if problem)
    return VersionChecks(max(at for at, _ in results.values()), tuple(results), problems)
