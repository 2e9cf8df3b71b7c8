"""Track a model's latest rollback drills, and tell when the next one is due; tabletop drills are kept separately."""

from dataclasses import dataclass, replace
from typing import assert_never

from surefoot.core.domain import Version
from surefoot.core.drills.drill_events import DrillEvent, DrillFinished
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillEnded
from surefoot.core.durations import format_duration
from surefoot.core.policy.recovery.drill import DrillSection

TABLETOP_MODE = "tabletop"
"""A drill that trains people; it proves nothing of the machine."""


@dataclass(frozen=True, slots=True)
class DrillState:
    """The latest drills of one model.

    Attributes:
        last: The last drill that was no tabletop exercise; None before the first.
        last_at: When it ended [Unix seconds].
        passed_at: When the last one ended under whose every fault the way back worked [Unix seconds]; None before it.
        live: The live drill that is under way, or whose traffic was not taken back yet; None without one.
    """

    last: DrillFinished | None = None
    last_at: float = 0.0
    passed_at: float | None = None
    live: LiveDrillBegan | None = None

    def after_drill(self, event: DrillEvent, at: float) -> "DrillState":
        """The state after one more event of a drill."""
        match event:
            case LiveDrillBegan():
                return replace(self, live=event)
            case LiveDrillEnded():
                return self.without_live_drill()
            case DrillFinished(mode=mode) if mode == TABLETOP_MODE:
                return self
            case DrillFinished():
                return replace(self, last=event, last_at=at, passed_at=at if event.passed else self.passed_at)
            case _:
                assert_never(event)

    def without_live_drill(self) -> "DrillState":
        """The state once another route replaces that of a live drill: a rollout that opens ends it."""
        return replace(self, live=None) if self.live is not None else self

    def split_names(self, candidate: Version | None) -> tuple[str, str]:
        """Salt and name of a split outside of a rollout: the live drill's id; empty where no candidate answers."""
        return ("", "") if self.live is None or candidate is None else (self.live.drill, self.live.drill)

    def is_due(self, section: DrillSection | None, now: float) -> bool:
        """Whether a scheduled drill is to be started.

        Args:
            section: The policy's section; None where it has none.
            now: The time [Unix seconds].
        """
        return section is not None and (self.last is None or now - self.last_at >= section.every)

    def promotion_problem(self, model: str, section: DrillSection | None, now: float) -> str:
        """Why no promotion may be opened; empty where the last passed drill is recent enough, or none is asked for.

        Args:
            model: Registered model.
            section: The policy's section; None where it has none.
            now: The time [Unix seconds].
        """
        if section is None or (self.passed_at is not None and now - self.passed_at < section.expires):
            return ""
        command = f"'surefoot drill {model}' rehearses it; a rollback is never held back by this"
        if self.passed_at is not None:
            age = format_duration(now - self.passed_at)
            said = f"the way back of {model} was last proven {age} ago, and the policy's drill.expires is"
            return f"{said} {format_duration(section.expires)}: {command}"
        failed = "" if self.last is None else ", and the last drill has failed"
        return f"the way back of {model} has not been proven by a drill yet{failed}: {command}"
