"""Check whether an operation would change anything, by running it with interfaces that refuse every change."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from surefoot.core.domain import RegistryView, Split, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.ports import Journal, Registry, Traffic
from surefoot.rollout.ports import Ports


class ChangeWanted(Exception):
    """A use case was about to change something, or to do costly work; the message says what.

    It is no SurefootError: a use case handles those, and this one ends it.
    """


@dataclass(frozen=True, slots=True)
class ReadOnlyJournal:
    """A journal that refuses to append."""

    journal: Journal

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Entries of a model with a sequence above `after`, in order."""
        return self.journal.read(model, after)

    def models(self) -> tuple[str, ...]:
        """Every model that has entries, sorted."""
        return self.journal.models()

    def append(self, model: str, expected: int, at: float, actor: str, kind: str, data: dict[str, object]) -> Entry:  # noqa: ARG002 - the port's
        """Refuse.

        Raises:
            ChangeWanted: Always.
        """
        raise ChangeWanted(f"{model}: {kind}")


@dataclass(frozen=True, slots=True)
class ReadOnlyRegistry:
    """A registry that refuses to change, and to download what a version is resolved from."""

    registry: Registry

    def resolve(self, model: str, number: str) -> Version:
        """Refuse: it downloads the whole artifact.

        Raises:
            ChangeWanted: Always.
        """
        raise ChangeWanted(f"{model}: version {number} is wanted")

    def view(self, model: str) -> RegistryView:
        """Everything that the registry says of a model."""
        return self.registry.view(model)

    def alias(self, model: str, alias: str) -> str | None:
        """Version number that an alias points to."""
        return self.registry.alias(model, alias)

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        """Refuse.

        Raises:
            ChangeWanted: Always.
        """
        raise ChangeWanted(f"{model}: alias {alias} is to point to {number or 'nothing'}")


@dataclass(frozen=True, slots=True)
class ReadOnlyTraffic:
    """An engine that refuses to shift."""

    traffic: Traffic

    def live(self, model: str) -> Split | None:
        """The split that is being served now."""
        return self.traffic.live(model)

    def settled(self, model: str, split: Split) -> bool:
        """Whether every part of the engine serves exactly this split."""
        return self.traffic.settled(model, split)

    def shift(self, model: str, split: Split) -> None:
        """Refuse.

        Raises:
            ChangeWanted: Always.
        """
        raise ChangeWanted(f"{model}: generation {split.generation} is to be served")


class NoEvidence:
    """Evidence that refuses to be gathered: it reads logs, and loads models."""

    def gather(self, question: EvidenceRequest) -> Evidence:
        """Refuse.

        Raises:
            ChangeWanted: Always.
        """
        raise ChangeWanted(f"{question.model}: a look is due")


def _no_trial(model: str, version: Version) -> str:
    raise ChangeWanted(f"{model}: version {version.number} is to be tried")


def _read_only(ports: Ports) -> Ports:
    """The same outside world, which no use case can change: the attempt raises ChangeWanted."""
    return replace(
        ports,
        journal=ReadOnlyJournal(ports.journal),
        registry=ReadOnlyRegistry(ports.registry),
        traffic=ReadOnlyTraffic(ports.traffic),
        other_engine=lambda choice: ReadOnlyTraffic(ports.other_engine(choice)),
        evidence_source=NoEvidence(),
        trial=_no_trial,
    )


def wanted_change(use_case: Callable[[Ports], object], ports: Ports) -> str:
    """The first change that an operation would make, in words; empty when it would change nothing.

    Args:
        use_case: Acts through the ports that it is given.
        ports: The outside world; it stays as it is.

    Raises:
        SurefootError: The outside world does not answer, and the use case does not handle that.
    """
    try:
        use_case(_read_only(ports))
    except ChangeWanted as wanted:
        return str(wanted)
    return ""
