"""Hold the latest rollback drills of a model, and decide whether they are recent enough to allow a promotion."""

from dataclasses import dataclass

from surefoot.core.drills.drill_events import DrillFinished
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
    """

    last: DrillFinished | None = None
    last_at: float = 0.0
    passed_at: float | None = None

    def after_drill(self, event: DrillFinished, at: float) -> "DrillState":
        """The state after one more drill."""
        if event.mode == TABLETOP_MODE:
            return self
        return DrillState(event, at, at if event.passed else self.passed_at)

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
