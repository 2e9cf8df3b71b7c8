"""Define the claims and facts known of a version's origin, and list the facts that changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VersionClaims:
    """What the registry says of who made a version, and of its change ticket.

    Attributes:
        authors: Users of the version and of its run, each once; none where MLflow does not know.
        ticket: Value of the tag `surefoot.ticket`; empty without it.
    """

    authors: tuple[str, ...] = ()
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What MLflow knows of how a version came to be.

    Attributes:
        data: Names and digests of the training data, by what they are.
        features: Names and types of the columns that the version takes.
        parameters: Hyperparameters.
        metrics: Metrics of its run.
        code: Commit, source and versions of the code that made it.
    """

    data: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FactChange:
    """One fact that is another one in the candidate.

    Attributes:
        kind: "data", "features", "parameters", "metrics" or "code".
        name: What it is the fact of.
        before: Its value for the champion; empty where it has none.
        after: Its value for the candidate; empty where it has none.
    """

    kind: str
    name: str
    before: str
    after: str


def list_fact_changes(champion: VersionFacts, candidate: VersionFacts) -> tuple[FactChange, ...]:
    """Every fact that differs between two versions, by kind and name."""
    found = []
    for kind in ("data", "features", "parameters", "metrics", "code"):
        old: Mapping[str, str] = getattr(champion, kind)
        new: Mapping[str, str] = getattr(candidate, kind)
        found += [
            FactChange(kind, name, old.get(name, ""), new.get(name, ""))
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]
    return tuple(found)
