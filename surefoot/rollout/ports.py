"""Define `Ports`, which holds the interfaces that an operation uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from surefoot.core.approvals.version_claims import VersionClaims, VersionFacts
from surefoot.core.champion_watch.day_counts import BoundedLabelValue, DayCounts
from surefoot.core.domain import Version
from surefoot.core.errors import InvariantBroken, Rejected
from surefoot.core.fallback import FallbackVersion
from surefoot.core.journal.events import Event, encode_event
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.policy.governance.artifact_trust import ArtifactContents, SignatureCheck
from surefoot.core.policy.policy_types import Policy
from surefoot.core.ports import Approvers, Clock, ConfigFiles, DataLayer, EvidenceSource, Journal, Registry, Traffic
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.serving_engines.engine_choice import EngineChoice
from surefoot.core.stages.hold_events import FreezeBegan


def _untried(_model: str, _version: Version) -> str:
    return ""


def _no_days(
    _model: str,
    _champion: str,
    _maturity: float,
    _ignored: Sequence[str],
    _until: int,
    _value: BoundedLabelValue | None,
) -> Sequence[DayCounts]:
    return ()


def _no_check(_model: str, _champion: str) -> FallbackDrilled | None:
    return None


def _no_fallback(_model: str, _fallback: FallbackVersion | None) -> None:
    """Name none: the engine has no fallback."""


def _no_engine(choice: EngineChoice) -> Traffic:
    raise Rejected(f"this process cannot reach engine '{choice.name}'")


def _keep_engine(_model: str) -> EngineChoice | None:
    """Ask for no engine: the one that serves goes on."""


def _not_deleted(_model: str, _number: str) -> bool:
    return False


def _no_claims(_model: str, _number: str) -> VersionClaims:
    return VersionClaims()


def _no_facts(_model: str, _version: Version) -> VersionFacts:
    return VersionFacts()


def _no_contents(_model: str, _version: Version) -> ArtifactContents:
    return ArtifactContents()


def _no_signature(_policy: Policy, _version: Version) -> SignatureCheck:
    return SignatureCheck(problem="its signature cannot be checked by this process")


def _no_freeze() -> FreezeBegan | None:
    """Freeze nothing: there is no calendar."""


class _SetStandby(Protocol):
    """Names the version that answers what the champion fails, of the split of one generation; None names none."""

    def __call__(self, model: str, generation: int, standby: Version | None, *, going_back: bool) -> None:
        """Name it, and whether the candidate of the split is what traffic goes back to."""
        ...


def _no_standby(model: str, generation: int, standby: Version | None, *, going_back: bool) -> None:
    """Name none: the engine has no standby."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The interfaces to the outside world that an operation uses, and the actor in whose name it runs."""

    journal: Journal
    registry: Registry
    traffic: Traffic
    evidence_source: EvidenceSource
    clock: Clock
    actor: str
    trial: Callable[[str, Version], str] = _untried
    """Why a version cannot be served here, in one line; empty when it can, or when nothing is loaded here."""
    count_days: Callable[[str, str, float, Sequence[str], int, BoundedLabelValue | None], Sequence[DayCounts]] = (
        _no_days
    )
    """Counts the latest days of a model: (model, champion, maturity of labels, ignored columns, last day, value)."""
    set_standby: _SetStandby = _no_standby
    """Names the version that answers what the champion fails."""
    is_deleted: Callable[[str, str], bool] = _not_deleted
    """Whether the registry says within a moment that (model, number) is deleted; False when it says nothing."""
    run_fallback_check: Callable[[str, str], FallbackDrilled | None] = _no_check
    """Asks the fallback of (model, champion) recent rows; None where the policy has none."""
    data_layer: DataLayer | None = None
    """The tables that versions write; None where no table is touched."""

    config_files: ConfigFiles | None = None
    """The configuration files that go with versions; None where no file is touched."""

    set_fallback: Callable[[str, FallbackVersion | None], None] = _no_fallback
    """Has the engine load the version that answers what no other version of (model) can; None unloads it."""

    approvers: Approvers | None = None
    """Who may approve; None where no person is asked."""

    version_claims: Callable[[str, str], VersionClaims] = _no_claims
    """What the registry says of who made (model, number), and of its change ticket."""

    version_facts: Callable[[str, Version], VersionFacts] = _no_facts
    """What the registry knows of how a version of (model) came to be."""

    artifact_contents: Callable[[str, Version], ArtifactContents] = _no_contents
    """Flavours and pickles of a version of (model), read from its verified files."""

    check_signature: Callable[[Policy, Version], SignatureCheck] = _no_signature
    """Whether a key that the policy names has signed exactly the verified files of a version."""

    calendar_freeze: Callable[[], FreezeBegan | None] = _no_freeze
    """The window of the calendar of freezes that is open now; None between two of them."""

    other_engine: Callable[[EngineChoice], Traffic] = _no_engine
    """The engine of a choice that is not the gateway, which `traffic` is."""

    wanted_engine: Callable[[str], EngineChoice | None] = _keep_engine
    """The engine that the policy of (model) asks for; None where no policy can be read, so that nothing changes."""

    def engine(self, ledger: Ledger) -> Traffic:
        """The engine that serves a model, as its journal says."""
        return self.traffic if ledger.engine.name is EngineName.GATEWAY else self.other_engine(ledger.engine)

    @property
    def bundled(self) -> ConfigFiles:
        """The configuration files that go with versions.

        Raises:
            InvariantBroken: These ports were opened without them.
        """
        if self.config_files is None:
            raise InvariantBroken("these ports were opened without configuration files")
        return self.config_files

    @property
    def tables(self) -> DataLayer:
        """The tables that versions write.

        Raises:
            InvariantBroken: These ports were opened without them.
        """
        if self.data_layer is None:
            raise InvariantBroken("these ports were opened without a data layer")
        return self.data_layer

    def ledger(self, model: str) -> Ledger:
        """Fold the model's journal."""
        return fold_entries(model, self.journal.read(model))

    def append(self, ledger: Ledger, event: Event) -> Ledger:
        """Append one event and fold it in.

        Raises:
            StaleLedger: Another process has appended since the ledger was read.
        """
        kind, data = encode_event(event)
        entry = self.journal.append(ledger.model, ledger.head, self.clock.now(), self.actor, kind, data)
        return fold_entries(ledger.model, (entry,), ledger)
