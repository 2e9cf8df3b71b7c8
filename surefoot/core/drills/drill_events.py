"""Define the journal event of a finished rollback drill with its results, and describe it in words."""

from dataclasses import dataclass

from surefoot.core.domain import Version
from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillEnded, LiveDrillResult


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What a rehearsed rollback has shown under one fault.

    Attributes:
        fault: The fault that was injected.
        detected: Whether a gate, or the check of a digest, has seen it.
        gate: What has seen it; empty where nothing has.
        requests: Requests that the faulty version was asked until then [count]; None where that is not known.
        detect_s: From the onset of the fault to the decision [seconds]; None where it was not detected.
        restore_ms: From the decision until every worker served the good version [milliseconds]; None where that was
            not reached.
        cause: The cause that was named; empty where none was looked for.
        cause_right: Whether that is the cause; None where none was looked for.
        caller_errors: Requests of callers that were not answered [count].
        problem: What is wrong, in one sentence; empty where the way back works.
    """

    fault: DrillFault
    detected: bool
    gate: str
    requests: int | None
    detect_s: float | None
    restore_ms: float | None
    cause: str
    cause_right: bool | None
    caller_errors: int
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the fault was detected, and the version taken back without a failed request."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class DrillFinished:
    """A rollback of the model was rehearsed.

    Attributes:
        drill: Id of the drill.
        mode: Where: "twin" beside production, "live" in production, or "tabletop" with a person who decides.
        version: The version that serves in production, whose way back was rehearsed.
        target: The version that a rollback goes to; None where no other one is proven-good.
        results: What each fault has shown.
        seed: Seed of what was drawn at random.
        took_s: How long it took [seconds].
        notes: What a person decided in a tabletop drill, and after which time, each as a sentence.
        live: What a live drill has shown, which injects no fault; None for other drills.
    """

    drill: str
    mode: str
    version: Version
    target: Version | None
    results: tuple[DrillResult, ...]
    seed: int
    took_s: float
    notes: tuple[str, ...] = ()
    live: LiveDrillResult | None = None

    @property
    def passed(self) -> bool:
        """Whether the way back worked under every fault, or in production."""
        if self.live is not None:
            return not self.live.problem
        return bool(self.results) and all(result.ok for result in self.results)


DrillEvent = DrillFinished | LiveDrillBegan | LiveDrillEnded
"""A rehearsed rollback has come to a result, or a live drill has begun or ended."""


def describe_drill_problems(event: DrillFinished) -> str:
    """The faults under which the way back did not work, and why; empty where it worked under all."""
    if event.live is not None:
        return event.live.problem
    return ", ".join(f"{result.fault} ({result.problem})" for result in event.results if not result.ok)


def describe_drill(event: DrillFinished) -> str:
    """What a drill has shown, as one line for a person."""
    if event.live is not None:
        return _describe_live_drill(event.version.number, event.live)
    count = len(event.results)
    where = {"twin": "in a twin of production", "live": "in production"}.get(event.mode, "as a tabletop exercise")
    under = f"under {count} fault{'' if count == 1 else 's'}"
    done = f"rollback from version {event.version.number} rehearsed {where} {under}"
    failed = sum(not result.ok for result in event.results)
    return f"{done}: {f'{failed} failed: {describe_drill_problems(event)}' if failed else 'the way back works'}"


def _describe_live_drill(number: str, live: LiveDrillResult) -> str:
    back = "" if live.restore_ms is None else f", traffic back in {live.restore_ms:.0f} ms"
    answered = f"{live.requests:,} requests answered, {live.differed:,} of {live.compared:,} answers differ{back}"
    return f"rollback rehearsed in production with version {number} in both arms: {live.problem or answered}"
