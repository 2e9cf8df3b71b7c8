"""Define a request's trace through the processing stages of each version."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TracedStage:
    """Output and duration of one processing stage of a version for one request.

    Attributes:
        name: Name of the stage, such as "typed by the signature".
        text: Its value as JSON, or the error that ended it.
        ms: How long it took [ms].
        failed: Whether the text is an error.
    """

    name: str
    text: str
    ms: float
    failed: bool = False


@dataclass(frozen=True, slots=True)
class VersionTrace:
    """The stages of one version.

    Attributes:
        version: Number of the version.
        stages: Its stages in order, the request as received first.
    """

    version: str
    stages: tuple[TracedStage, ...]


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """One request of an incident, scored again by both versions stage by stage.

    Attributes:
        request: Id of the request.
        row: Row of the request, from 0.
        at: When it was received [Unix seconds].
        logged: The answer or the error in the prediction log, as text.
        versions: Stages by version, the rolled-back one first.
    """

    request: str
    row: int
    at: float
    logged: str
    versions: tuple[VersionTrace, ...]

    @property
    def stage_rows(self) -> tuple[tuple[str, tuple[TracedStage | None, ...]], ...]:
        """The stages beside each other: name, and what each version made of it; None where it has no such stage."""
        names = dict.fromkeys(stage.name for one in self.versions for stage in one.stages)
        by_name = [{stage.name: stage for stage in one.stages} for one in self.versions]
        return tuple((name, tuple(stages.get(name) for stages in by_name)) for name in names)
