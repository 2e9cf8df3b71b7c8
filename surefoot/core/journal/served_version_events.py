"""Define journal events of served versions: release from quarantine, answer counts, exposure, corrections."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from surefoot.core.domain import Version


@dataclass(frozen=True, slots=True)
class VersionReleased:
    """A person lifted the quarantine of a version: it may be promoted again.

    Attributes:
        version: The version; its bytes are released, under whatever number they were registered.
        reason: Why.
        forced: Whether `promote --force` lifted it.
    """

    version: Version
    reason: str
    forced: bool = False


@dataclass(frozen=True, slots=True)
class RollbackTargetChanged:
    """The version that traffic was to go back to is unfit: traffic goes to the next proven-good one.

    Attributes:
        rollout: Id of the rollout.
        unfit: Version that cannot be gone back to.
        target: Version that traffic goes to instead.
        reason: Why the first one is unfit.
    """

    rollout: str
    unfit: Version
    target: Version
    reason: str


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """What the log holds of one version in a window of time.

    Attributes:
        number: Version.
        requests: Requests that it answered [count].
        labels: Labels that had matured of its answers [count].
        scored: Labels among them that its answers could be held against [count].
        loss: Mean loss of these answers [unit of the metric]; None without any.
        metric: What the loss is; empty where the policy has no loss.
    """

    number: str
    requests: int
    labels: int = 0
    scored: int = 0
    loss: float | None = None
    metric: str = ""


@dataclass(frozen=True, slots=True)
class ServiceCounted:
    """What versions have answered was counted from the log, which does not last.

    Requests are counted that were received after `since`, until `until`; labels those of requests received after
    `labels_since`, until `labels_until`, since a label counts once it has matured.

    Attributes:
        since: Beginning of the requests, not included [Unix seconds].
        until: Their end [Unix seconds].
        labels_since: Beginning of the requests whose labels are counted, not included [Unix seconds].
        labels_until: Their end [Unix seconds].
        versions: Counts by version.
    """

    since: float
    until: float
    labels_since: float
    labels_until: float
    versions: tuple[VersionCounts, ...]


@dataclass(frozen=True, slots=True)
class ExposureListed:
    """Requests that a version answered before it was taken back were listed in a file.

    Attributes:
        rollout: Id of the rollout that took it back; empty where a person asked for the list.
        number: Version that answered.
        file: Name of the file in the state folder.
        digest: SHA-256 of its bytes.
        requests: Rows in it: answers that callers got [count].
        units: Different units among them [count]; None where no unit is known.
        phases: Rows by what the version served as: canary, baking, champion, unknown.
        unknown: Rows without the good version's answer, by the reason; empty when all are known.
        changed: Rows that the good version answers otherwise [count]; None where none was scored.
        groups: Rows by group, `column=value` of the columns that the policy makes slices of.
    """

    rollout: str
    number: str
    file: str
    digest: str
    requests: int
    units: int | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    changed: int | None = None
    groups: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CorrectionsWritten:
    """Answers of a version were computed again with a proven-good one, into a table for downstream consumers.

    Attributes:
        number: Version whose answers are corrected.
        by: Version that gave the corrected answers.
        file: Name of the file in the state folder.
        digest: SHA-256 of its bytes.
        rows: Rows in it [count].
        corrected: Rows with a corrected answer [count].
        changed: Rows whose corrected answer differs [count].
        unknown: Rows without a corrected answer, by the reason.
    """

    number: str
    by: str
    file: str
    digest: str
    rows: int
    corrected: int
    changed: int
    unknown: Mapping[str, int] = field(default_factory=dict)
