"""Define a message to people, with an id that stays the same when it is sent again."""

from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.journal.chain import canonical_digest


class Severity(StrEnum):
    """How soon a person has to read a message: at once, today, or some time."""

    PAGE = "page"
    WARNING = "warning"
    INFO = "info"


class Topic(StrEnum):
    """What a message is about."""

    INCIDENT = "incident"
    RESTORED = "restored"
    CAUSE = "cause"
    CLOSED = "closed"
    ESCALATION = "escalation"
    DEADLINE = "deadline"
    DRAFT = "draft"
    ROLLBACK = "rollback"
    PROMOTION = "promotion"
    WAIT = "wait"
    APPROVAL = "approval"
    DRIFT = "drift"
    FALLBACK = "fallback"
    DATA = "data"


_MAX_TITLE_LENGTH = 180
"""Longest title [characters]: services cut longer ones."""


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told, before it is known through which receivers.

    Attributes:
        seq: Sequence of the journal entry that it tells of.
        topic: What it is about.
        severity: How soon a person has to read it.
        title: One line.
        body: The text.
        key: Tells messages of one topic about one entry apart; empty where there is one only.
        incident: Incident that it belongs to; empty without one.
        whom: An audience or a role that alone is told; empty where routes decide.
    """

    seq: int
    topic: Topic
    severity: Severity
    title: str
    body: str
    key: str = ""
    incident: str = ""
    whom: str = ""


def make_title(text: str) -> str:
    """A text as a title of one line."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TITLE_LENGTH else f"{line[: _MAX_TITLE_LENGTH - 1]}…"


def derive_message_id(journal: str, model: str, message: Message, receiver: str) -> str:
    """The id of a message to one receiver; the same whenever it is derived or sent again.

    Args:
        journal: Hash of the model's first journal entry: another journal has other ids.
        model: Registered model.
        message: The message.
        receiver: Name of the receiver.
    """
    facts = {
        "journal": journal,
        "key": message.key,
        "model": model,
        "receiver": receiver,
        "seq": message.seq,
        "topic": message.topic.value,
    }
    return canonical_digest(facts).removeprefix("sha256:")[:24]
