"""Define all errors that Surefoot raises, grouped by what the caller should do.

SurefootError
├── Rejected                 nothing happened; do not retry; tell the person      exit 2
│   ├── PolicyInvalid        the policy file breaks a rule (path, line, rule)
│   ├── NotFound             the named model, version or alias does not exist
│   ├── TableNotReachable      this process has no URL, driver or library for a table; another one may
│   ├── ApprovalInvalid      a signed approval does not count; it is journalled as refused
│   ├── Forbidden            the person or the access token lacks the role
│   ├── TokenInvalid         an access token is missing, unknown, expired or revoked
│   ├── MessageInvalid       a webhook is forged, stale, replayed or malformed
│   ├── RequestInvalid       a flow run carries no proof of who asks for it, or one that does not count
│   └── TransitionIllegal    the rollout is not in a state that allows this
├── Conflict                 somebody else acts; read again and stop              exit 3
│   ├── RolloutInProgress    another rollout of this model is open
│   ├── AliasDrift           the registry does not say what the journal says
│   ├── RouteSuperseded      the gateway serves a route of a newer generation
│   ├── NewerWrite           another writer has written to a table since its checkpoint
│   └── StaleLedger          the journal has grown since it was read
├── Unavailable              known not applied; retry with back-off               exit 4
│   ├── RegistryUnavailable
│   ├── GatewayUnavailable
│   │   └── VersionUnavailable   the gateway answers, but cannot get the version's files now
│   ├── EvidenceUnavailable
│   ├── DataUnavailable      a table of the data layer cannot be read or written
│   └── JournalUnavailable
├── OutcomeUnknown           may be applied; look again, never repeat blindly     exit 4
├── Tampered                 stop, page                                           exit 5
│   ├── ArtifactTampered
│   ├── DataTampered         a checkpoint of a table is damaged
│   └── JournalTampered
└── InvariantBroken          our bug; stop, page                                  exit 70

A gate that fails is a verdict, not an error.
"""

from collections.abc import Sequence
from typing import ClassVar


class SurefootError(Exception):
    """Base of every error that Surefoot raises."""

    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False


class Rejected(SurefootError):
    """Nothing happened and repeating will not help: tell the person."""

    exit_code = 2


class FallbackInvalid(Rejected):
    """The file or the version of a policy's fallback is not there, or something in it is wrong."""


class PolicyInvalid(Rejected):
    """A policy file breaks a rule.

    Attributes:
        path: The file.
        line: One-based line of the offending key or value.
        rule: What the rule demands.
        more: Lines and rules of what else is broken in the same file.
        suite: Name of the suite that the policy asks for; empty when it cannot be read.
    """

    def __init__(self, path: str, line: int, rule: str, more: Sequence[tuple[int, str]] = (), suite: str = "") -> None:
        """Remember where and why, and render the first as one line that says how many more there are."""
        others = f" (and {len(more)} more: 'surefoot lint' names all)" if more else ""
        super().__init__(f"{path}:{line}: {rule}{others}")
        self.more = tuple(more)
        self.suite = suite
        self.path = path
        self.line = line
        self.rule = rule

    def problems(self) -> tuple[tuple[int, str], ...]:
        """Lines and rules of everything that is broken in the file, in the order of its lines."""
        return tuple(sorted(((self.line, self.rule), *self.more), key=lambda found: found[0]))


class NotFound(Rejected):
    """The named model, version or alias does not exist."""


class TableNotReachable(Rejected):
    """This process has no URL, driver or library for a table; another one may have it."""


class ApprovalInvalid(Rejected):
    """A text that was handed in as a signed approval does not count.

    Attributes:
        person: Who signed it; empty where that is not known.
        key: Fingerprint of the key; empty where the signature does not verify.
    """

    def __init__(self, reason: str, person: str = "", key: str = "") -> None:
        """Remember why, and who signed it as far as that is known."""
        super().__init__(reason)
        self.person = person
        self.key = key


class Forbidden(Rejected):
    """The person or the access token lacks the role that this needs."""


class TokenInvalid(Rejected):
    """An access token is missing, unknown, expired or revoked."""


class MessageInvalid(Rejected):
    """A webhook is forged, stale, replayed or malformed."""


class RequestInvalid(Rejected):
    """A flow run carries no proof of who asks for it, or one that does not count."""


class TransitionIllegal(Rejected):
    """The rollout is not in a state that allows this request."""


class Conflict(SurefootError):
    """Somebody else acts on this model: read again and stop."""

    exit_code = 3


class RolloutInProgress(Conflict):
    """Another rollout of this model is open."""


class AliasDrift(Conflict):
    """The registry or the live split does not say what the journal says."""


class RouteSuperseded(Conflict):
    """The gateway serves a route of a newer generation."""


class NewerWrite(Conflict):
    """Another writer has written to a table or a configuration file meanwhile: it is not overwritten."""


class StaleLedger(Conflict):
    """Another process has appended to the journal since it was read; reading it again is safe."""


class Unavailable(SurefootError):
    """Known not applied: retry with back-off."""

    exit_code = 4
    retryable = True


class RegistryUnavailable(Unavailable):
    """MLflow does not answer."""


class GatewayUnavailable(Unavailable):
    """The gateway does not answer or does not acknowledge."""


class VersionUnavailable(GatewayUnavailable):
    """The gateway answers, but a version is not on its host and the registry does not answer: nothing changed."""


class EvidenceUnavailable(Unavailable):
    """The prediction log, the labels or the scorer cannot be read."""


class ConfigUnavailable(Unavailable):
    """A configuration file that goes with a version cannot be read or written now."""


class DataUnavailable(Unavailable):
    """A table of the data layer cannot be read or written."""


class JournalUnavailable(Unavailable):
    """The journal's database cannot be reached or written."""


class OutcomeUnknown(SurefootError):
    """The change may or may not be applied: look again, never repeat blindly."""

    exit_code = 4
    retryable = True


class Tampered(SurefootError):
    """Something that never changes has changed: stop and page."""

    exit_code = 5


class ArtifactTampered(Tampered):
    """The bytes of a model are not the journalled bytes."""


class DataTampered(Tampered):
    """A checkpoint of a table is damaged."""


class JournalTampered(Tampered):
    """An entry of the journal does not hash to what its successors say."""


class InvariantBroken(SurefootError):
    """A bug of ours: stop and page."""
