"""Define the interfaces to the outside world (ports), such as registry, traffic engine, output tables and clock."""

from typing import Protocol

from surefoot.core.approvals.approval_checks import Signer
from surefoot.core.domain import RegistryView, Split, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.recovery.data_layer import DataSource
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint, TableDigest


class Journal(Protocol):
    """The append-only record; an append with the expected sequence is a compare-and-swap."""

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Entries of a model with a sequence above `after`, in order."""
        ...

    def append(self, model: str, expected: int, at: float, actor: str, kind: str, data: dict[str, object]) -> Entry:
        """Append one entry as number `expected` + 1.

        Raises:
            StaleLedger: Another process has appended since `expected` was read.
            JournalUnavailable: The database cannot be written; nothing was appended.
        """
        ...

    def models(self) -> tuple[str, ...]:
        """Every model that has entries, sorted."""
        ...


class Registry(Protocol):
    """The MLflow Model Registry."""

    def resolve(self, model: str, number: str) -> Version:
        """Look a version up and digest its whole artifact.

        Raises:
            NotFound: No such model or version.
            Rejected: The version cannot be used, for example because its upload has failed.
            RegistryUnavailable: MLflow does not answer, or the version is still being uploaded.
        """
        ...

    def view(self, model: str) -> RegistryView:
        """Everything that the registry says of a model, read in a bounded number of calls."""
        ...

    def alias(self, model: str, alias: str) -> str | None:
        """Version number that an alias points to, or None when it is not set."""
        ...

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        """Point an alias to a version, or remove it; safe to repeat."""
        ...


class Traffic(Protocol):
    """The engine that splits live requests."""

    def live(self, model: str) -> Split | None:
        """The split that is being served now, or None when the model is not served."""
        ...

    def settled(self, model: str, split: Split) -> bool:
        """Whether every part of the engine serves exactly this split and will after a restart; one part may lag."""
        ...

    def shift(self, model: str, split: Split) -> None:
        """Serve this split; return when every part of the engine has acknowledged it.

        Raises:
            RouteSuperseded: A split with a higher generation is being served.
            GatewayUnavailable: The gateway does not answer; nothing changed.
            OutcomeUnknown: It may have changed; look with `live`.
            ArtifactTampered: A version's bytes are not those of its digest.
        """
        ...


class EvidenceSource(Protocol):
    """Where measurements come from."""

    def gather(self, question: EvidenceRequest) -> Evidence:
        """Measure; what cannot be measured comes back as `MissingEvidence`, never as an exception."""
        ...


class ConfigFiles(Protocol):
    """Configuration files that go with versions, and every content that they have had."""

    def current_digest(self, file: str) -> str:
        """SHA-256 of what a file holds now; empty where there is no file.

        Raises:
            Rejected: It is no regular file.
            ConfigUnavailable: It cannot be read.
        """
        ...

    def keep_current(self, file: str) -> str:
        """Keep what a file holds now.

        Returns:
            Its SHA-256; empty where there is no file.

        Raises:
            ConfigUnavailable: It cannot be read or kept.
        """
        ...

    def keep_bundled(self, model: str, version: Version, source: str) -> str:
        """Keep a file of a version's artifact.

        Returns:
            Its SHA-256.

        Raises:
            Rejected: The artifact has no such file.
            ConfigUnavailable: It cannot be kept.
        """
        ...

    def write(self, file: str, content: str) -> None:
        """Let a file hold a content that was kept, or remove it where that is empty; whole or not at all.

        Raises:
            ArtifactTampered: What was kept is gone or altered.
            ConfigUnavailable: The file cannot be written.
        """
        ...


class DataLayer(Protocol):
    """The tables that a model's versions write."""

    def digest(self, model: str, source: DataSource) -> TableDigest:
        """What a table holds now."""
        ...

    def checkpoint(self, model: str, source: DataSource) -> TableCheckpoint:
        """Keep what a table holds now, so that it can be restored; safe to repeat.

        Raises:
            Rejected: There is no such table, or it cannot be read.
            DataUnavailable: It does not answer, or was written meanwhile.
        """
        ...

    def verify_restorable(self, model: str, source: DataSource, checkpoint: TableCheckpoint) -> None:
        """Restore a checkpoint into a scratch copy; two readers compare rows, schema and digest.

        Raises:
            DataTampered: What was kept is damaged, or the scratch copy does not hold what the checkpoint says.
            Rejected: The table is gone, or cannot be restored.
            DataUnavailable: It does not answer.
        """
        ...

    def restore(
        self, model: str, source: DataSource, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str
    ) -> RestoreResult:
        """Undo the writes of some versions since a checkpoint; a damaged checkpoint and newer writes stop it first.

        Args:
            model: Registered model.
            source: The table.
            checkpoint: What it goes back to.
            versions: Numbers of the versions whose writes may be undone.
            intent: Name of this restore; repeating it changes nothing.

        Raises:
            NewerWrite: Another writer has written since the checkpoint; nothing of it was overwritten.
            DataTampered: The checkpoint is damaged; nothing was changed.
            Rejected: The table is gone, or cannot be restored.
            DataUnavailable: It does not answer; nothing was changed, or what was begun goes on when it is repeated.
        """
        ...


class Approvers(Protocol):
    """Who may approve, and which keys are theirs."""

    def verify(self, statement: bytes, armour: str) -> Signer:
        """Find the person who signed a statement.

        Args:
            statement: The bytes that were signed.
            armour: The SSH signature.

        Raises:
            ApprovalInvalid: The signature is no good, or its key is not that of one person who may sign.
            Rejected: It cannot be verified here: a program or a file is missing.
        """
        ...

    def people(self, group: str) -> frozenset[str]:
        """Principals of a group.

        Raises:
            Rejected: There is no such group, or the file of groups cannot be read.
        """
        ...


class Clock(Protocol):
    """Time, so that nothing else asks for it."""

    def now(self) -> float:
        """Time that policies count in [Unix seconds]; replayed traffic replays it too."""
        ...

    def monotonic(self) -> float:
        """A clock that never steps, for durations [seconds]."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait in real time [seconds]."""
        ...
