"""Define the journal events of output tables: checkpointed, restored, left as they are, or proved restorable."""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.core.tables.table_checkpoint import TableCheckpoint


@dataclass(frozen=True, slots=True)
class DataCheckpointRequested:
    """A table is about to be checkpointed, before its model's candidate is promoted.

    Attributes:
        rollout: Id of the rollout.
        name: Name of the table in the policy.
    """

    rollout: str
    name: str


@dataclass(frozen=True, slots=True)
class DataCheckpointed:
    """A table was checkpointed.

    Attributes:
        rollout: Id of the rollout.
        name: Name of the table in the policy.
        intent: Sequence of the request.
        source: The table as the policy described it then.
        on_rollback: What a rollback does with it: "restore", "leave" or "correct".
        checkpoint: The state that was kept.
        proved: Whether it was restored into a scratch copy and read back by two readers.
    """

    rollout: str
    name: str
    intent: int
    source: Mapping[str, object]
    on_rollback: str
    checkpoint: TableCheckpoint
    proved: bool


@dataclass(frozen=True, slots=True)
class DataCheckpointRefused:
    """A table could not be checkpointed, or what was kept of it cannot be restored.

    Attributes:
        rollout: Id of the rollout.
        name: Name of the table in the policy.
        intent: Sequence of the request.
        reason: Why.
    """

    rollout: str
    name: str
    intent: int
    reason: str


@dataclass(frozen=True, slots=True)
class DataRestoreRequested:
    """A table is about to be restored, after traffic and registry went back.

    Attributes:
        rollout: Id of the rollout that took the version back.
        name: Name of the table in the policy.
        checkpoint: Sequence of the entry that holds the checkpoint.
    """

    rollout: str
    name: str
    checkpoint: int


@dataclass(frozen=True, slots=True)
class DataRestored:
    """A table holds again what its checkpoint says.

    Attributes:
        rollout: Id of the rollout that took the version back.
        name: Name of the table in the policy.
        intent: Sequence of the request.
        before: Digest of the table before.
        after: Digest of what the checkpoint covers, afterwards.
        already: Whether there was nothing to undo.
    """

    rollout: str
    name: str
    intent: int
    before: str
    after: str
    already: bool


@dataclass(frozen=True, slots=True)
class DataRestoreRefused:
    """A table was not restored: another writer has written since, or its checkpoint is damaged.

    Attributes:
        rollout: Id of the rollout that took the version back.
        name: Name of the table in the policy.
        intent: Sequence of the request.
        reason: Why.
    """

    rollout: str
    name: str
    intent: int
    reason: str


@dataclass(frozen=True, slots=True)
class DataRestoreRetried:
    """A person asks for a restore again that was refused.

    Attributes:
        rollout: Id of the rollout that took the version back.
        name: Name of the table in the policy.
        reason: Why.
    """

    rollout: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class DataLeft:
    """A table stays as the version that was taken back has written it.

    Attributes:
        rollout: Id of the rollout that took the version back.
        name: Name of the table in the policy.
        on_rollback: "leave" or "correct" where the policy decides so, "restore" where a person does.
        reason: Why.
    """

    rollout: str
    name: str
    on_rollback: str
    reason: str


@dataclass(frozen=True, slots=True)
class DataProved:
    """A checkpoint was restored into a scratch copy again, or could not be.

    Attributes:
        name: Name of the table in the policy.
        checkpoint: Sequence of the entry that holds the checkpoint.
        problem: Why it cannot be restored; empty when it can.
    """

    name: str
    checkpoint: int
    problem: str


DataEvent = (
    DataCheckpointRequested
    | DataCheckpointed
    | DataCheckpointRefused
    | DataRestoreRequested
    | DataRestored
    | DataRestoreRefused
    | DataRestoreRetried
    | DataLeft
    | DataProved
)
"""An event of the data layer."""
