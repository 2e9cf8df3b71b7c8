"""Run operations without making changes, to tell what they would change or how a promotion would be judged."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from surefoot.core.actions import WaitUntil
from surefoot.core.domain import RegistryView, Split, Stage, Version
from surefoot.core.errors import Rejected
from surefoot.core.journal.chain import GENESIS_HASH, Entry, seal_entry
from surefoot.core.journal.ledger import Rollout
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.ports import Journal, Registry, Traffic
from surefoot.rollout.advance_rollout import advance_rollout
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import PromotionRequest, open_promotion

_BEFORE_TRAFFIC = {Stage.SUBMITTED, Stage.VALIDATING, Stage.SHADOWING}
"""Stages in which versions are asked about logged requests, and nothing else is done."""


class WantedChange(Exception):
    """A use case was about to change something, or to do costly work; the message says what.

    It is no SurefootError: a use case handles those, and this one ends it.
    """


@dataclass(frozen=True, slots=True)
class _ReadOnlyJournal:
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
            WantedChange: Always.
        """
        raise WantedChange(f"{model}: {kind}")


@dataclass(frozen=True, slots=True)
class _ReadOnlyRegistry:
    """A registry that refuses to change, and to download what a version is resolved from."""

    registry: Registry

    def resolve(self, model: str, number: str) -> Version:
        """Refuse: it downloads the whole artifact.

        Raises:
            WantedChange: Always.
        """
        raise WantedChange(f"{model}: version {number} is wanted")

    def view(self, model: str) -> RegistryView:
        """Everything that the registry says of a model."""
        return self.registry.view(model)

    def alias(self, model: str, alias: str) -> str | None:
        """Version number that an alias points to."""
        return self.registry.alias(model, alias)

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        """Refuse.

        Raises:
            WantedChange: Always.
        """
        raise WantedChange(f"{model}: alias {alias} is to point to {number or 'nothing'}")


@dataclass(frozen=True, slots=True)
class _ReadOnlyTraffic:
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
            WantedChange: Always.
        """
        raise WantedChange(f"{model}: generation {split.generation} is to be served")


class _NoEvidence:
    """Evidence that refuses to be gathered: it reads logs, and loads models."""

    def gather(self, question: EvidenceRequest) -> Evidence:
        """Refuse.

        Raises:
            WantedChange: Always.
        """
        raise WantedChange(f"{question.model}: a look is due")


def _no_trial(model: str, version: Version) -> str:
    raise WantedChange(f"{model}: version {version.number} is to be tried")


def _read_only(ports: Ports) -> Ports:
    """The same outside world, which no use case can change: the attempt raises WantedChange."""
    return replace(
        ports,
        journal=_ReadOnlyJournal(ports.journal),
        registry=_ReadOnlyRegistry(ports.registry),
        traffic=_ReadOnlyTraffic(ports.traffic),
        other_engine=lambda choice: _ReadOnlyTraffic(ports.other_engine(choice)),
        evidence_source=_NoEvidence(),
        trial=_no_trial,
    )


def find_wanted_change(use_case: Callable[[Ports], object], ports: Ports) -> str:
    """The first change that an operation would make, in words; empty when it would change nothing.

    Args:
        use_case: Acts through the ports that it is given.
        ports: The outside world; it stays as it is.

    Raises:
        SurefootError: The outside world does not answer, and the use case does not handle that.
    """
    try:
        use_case(_read_only(ports))
    except WantedChange as wanted:
        return str(wanted)
    return ""


@dataclass(frozen=True, slots=True)
class _OverlayJournal:
    """A journal whose new entries are kept in memory alone."""

    journal: Journal
    added: list[Entry] = field(default_factory=list)

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Entries of a model with a sequence above `after`, in order: those of the journal, then the new ones."""
        first = self.added[0].seq if self.added else None
        kept = tuple(entry for entry in self.journal.read(model, after) if first is None or entry.seq < first)
        return kept + tuple(entry for entry in self.added if entry.seq > after)

    def models(self) -> tuple[str, ...]:
        """Every model that has entries, sorted."""
        return self.journal.models()

    def append(self, model: str, expected: int, at: float, actor: str, kind: str, data: dict[str, object]) -> Entry:
        """Keep one more entry in memory."""
        last = next(reversed(self.read(model, expected - 1)), None) if expected else None
        entry = seal_entry(model, expected + 1, at, at, actor, kind, data, last.hash if last else GENESIS_HASH)
        self.added.append(entry)
        return entry


@dataclass(frozen=True, slots=True)
class _ResolvingRegistry(_ReadOnlyRegistry):
    """A registry that refuses to change, and resolves versions."""

    def resolve(self, model: str, number: str) -> Version:
        """The version with its digest."""
        return self.registry.resolve(model, number)


@dataclass(frozen=True, slots=True)
class PromotionTrial:
    """What became of a promotion that was judged without traffic.

    Attributes:
        rollout: The rollout as far as it came.
        entries: What would have been journalled.
        why_it_waits: What its gates wait for, where they have not decided; else empty.
    """

    rollout: Rollout
    entries: tuple[Entry, ...]
    why_it_waits: str = ""

    @property
    def would_go_on(self) -> bool:
        """Whether callers' requests would go to the version next, or people be asked for their approval."""
        return self.rollout.stage not in _BEFORE_TRAFFIC and self.rollout.ending is None


def try_promotion(
    ports: Ports, model: str, request: PromotionRequest, on_entry: Callable[[Entry], None] = lambda _entry: None
) -> PromotionTrial:
    """Judge a version up to its first request: validation, and the shadow that replays logged requests.

    Nothing is journalled, no alias moves, and no request goes another way.

    Args:
        ports: The outside world; its journal, registry and engine stay as they are.
        model: Registered model.
        request: What would be promoted.
        on_entry: Is told of each entry that would be journalled.

    Raises:
        Rejected: The promotion would not be opened, or no version serves yet.
    """
    journal = _OverlayJournal(ports.journal)
    dry = replace(
        ports,
        journal=journal,
        registry=_ResolvingRegistry(ports.registry),
        traffic=_ReadOnlyTraffic(ports.traffic),
        other_engine=lambda choice: _ReadOnlyTraffic(ports.other_engine(choice)),
        set_fallback=lambda _model, _fallback: None,
        set_standby=lambda _model, _generation, _standby, *, going_back: None,  # noqa: ARG005 - the port's
    )
    if (opened := dry.ledger(model).rollout) is not None:
        raise Rejected(f"rollout {opened.opened.rollout} of {model} is open ({opened.stage}): try again after its end")
    try:
        open_promotion(dry, request)
    except WantedChange as wanted:
        if dry.ledger(model).rollout is None:
            raise Rejected(
                f"no version of {model} is served yet ({wanted}): 'reconcile' does that within a tick, then try again"
            ) from wanted
    told = 0
    while True:
        for entry in journal.added[told:]:
            on_entry(entry)
        told = len(journal.added)
        ledger = dry.ledger(model)
        rollout = list(ledger.rollouts.values())[-1]
        if rollout.ending or rollout.stage not in _BEFORE_TRAFFIC:
            return PromotionTrial(rollout, tuple(journal.added))
        action, _ = advance_rollout(dry, ledger)
        if isinstance(action, WaitUntil):
            return PromotionTrial(rollout, tuple(journal.added), action.reason)
