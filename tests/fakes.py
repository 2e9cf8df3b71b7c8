"""Stand-ins for the outside world, for the core and the use case only; a fault can strike at every call."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from surefoot.adapters.traffic.alias import AliasTraffic
from surefoot.adapters.traffic.split_text import decode_split_text
from surefoot.core.approvals.approval_checks import Signer
from surefoot.core.approvals.approval_statement import ApprovalStatement, SignedText
from surefoot.core.approvals.version_claims import VersionClaims
from surefoot.core.domain import Outcome, RegistryView, Split, Version
from surefoot.core.errors import (
    DataTampered,
    NewerWrite,
    NotFound,
    OutcomeUnknown,
    RegistryUnavailable,
    RouteSuperseded,
    StaleLedger,
)
from surefoot.core.journal.chain import GENESIS_HASH, Entry, canonical_bytes, check_chain, seal_entry
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import AnswerShapes, BadEventCounts, BadEventStratum, Evidence, MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.recovery.data_layer import DataSource
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint, TableDigest
from surefoot.rollout import Ports, PromotionRequest

if TYPE_CHECKING:
    from surefoot.core.ports import Approvers
    from surefoot.core.stages.hold_events import FreezeBegan

T = TypeVar("T")
SAME_SHAPE = AnswerShapes(("a number",), ("a number",), 1_000, 1_000)
POLICY: dict[str, Any] = {
    "model": "m",
    "owners": ["team"],
    "unit": "user",
    "traffic": {"engine": "gateway", "requests_per_minute": 600},
    "data": {"suite": "m", "window": "7d"},
    "gates": {"errors": {"metric": "error_rate", "margin": "1pp"}},
    "steps": [
        {"shadow": {"window": "7d", "gates": ["errors"]}},
        {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}},
        {"weight": 50, "hold": {"for": "10m", "gates": ["errors"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
}


MIRRORED: dict[str, Any] = {
    **POLICY,
    "steps": [
        {"shadow": {"window": "7d", "gates": ["errors"]}},
        {"shadow": {"source": "live", "share": 20, "for": "2h", "min_requests": 500, "gates": ["errors"]}},
        {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}},
    ],
}
"""The same policy with a live shadow."""


WITH_TABLES: dict[str, Any] = {
    **POLICY,
    "data_layer": [
        {"name": "predictions", "kind": "parquet", "path": "predictions"},
        {"name": "stream", "kind": "delta", "path": "stream", "consumers": ["billing"]},
        {"name": "scratch", "kind": "delta", "path": "scratch", "on_rollback": "leave"},
    ],
}
"""The same policy with a table of each reaction to a rollback."""


WITH_CONFIG: dict[str, Any] = {
    **POLICY,
    "bundle": [{"name": "thresholds", "from": "thresholds.json", "to": "thresholds.json"}],
}
"""The same policy with a configuration file that goes with the version."""


STEPPED: dict[str, Any] = {**POLICY, "rollback": {"mode": "stepped", "steps": [10, 50], "hold": "5m"}}
"""The same policy with a rollback by steps."""


APPROVED: dict[str, Any] = {
    **POLICY,
    "steps": [
        {"shadow": {"window": "7d", "gates": ["errors"]}},
        {"approve": {"by": "releasers", "expires": "4h"}},
        {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}},
        {"approve": {"by": "releasers", "quorum": 2, "expires": "2h"}},
    ],
}
"""A policy that asks one person before any traffic, and two before the promotion."""


BY_ALIAS: dict[str, Any] = {
    **POLICY,
    "traffic": {"engine": "alias", "requests_per_minute": 600, "candidate_errors_reach_callers": True},
    "steps": [{"shadow": {"window": "7d", "gates": ["errors"]}}],
}
"""The same policy without a router: alias champion alone moves traffic."""


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


@dataclass
class Faults:
    """Strikes at numbered port calls.

    Attributes:
        at: Call number -> "before" or "after" (kill), "refused" (known not applied), "unknown" (applied, reply lost).
        calls: Calls so far.
    """

    at: dict[int, str] = field(default_factory=dict)
    calls: int = 0

    def call(self, apply: Callable[[], T]) -> T:
        """Run one port call under the fault that is planned for it."""
        self.calls += 1
        fault = self.at.get(self.calls)
        if fault == "before":
            raise Killed
        if fault == "refused":
            raise RegistryUnavailable("planned")
        answer = apply()
        if fault == "after":
            raise Killed
        if fault == "unknown":
            raise OutcomeUnknown("planned")
        return answer


class FakeClock:
    """Time that passes only when somebody sleeps, a thousand times as fast as they sleep."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.real = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.real

    def sleep(self, seconds: float) -> None:
        self.real += seconds
        self.time += seconds * 1000.0


class FakeJournal:
    """A list of sealed entries."""

    def __init__(self, faults: Faults) -> None:
        self.entries: list[Entry] = []
        self.faults = faults

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        return self.faults.call(lambda: tuple(e for e in self.entries if e.model == model and e.seq > after))

    def append(self, model: str, expected: int, at: float, actor: str, kind: str, data: dict[str, object]) -> Entry:
        def apply() -> Entry:
            head = self.entries[-1] if self.entries else None
            if (head.seq if head else 0) != expected:
                raise StaleLedger(f"expected {expected}")
            canonical_bytes(data)
            entry = seal_entry(model, expected + 1, at, at, actor, kind, data, head.hash if head else GENESIS_HASH)
            self.entries.append(entry)
            return entry

        return self.faults.call(apply)

    def models(self) -> tuple[str, ...]:
        return tuple(sorted({entry.model for entry in self.entries}))


class FakeRegistry:
    """Aliases in a dictionary, with a log of real changes."""

    def __init__(self, faults: Faults) -> None:
        self.aliases: dict[str, str] = {"champion": "1", "candidate": "2"}
        self.versions = {n: Version(n, f"sha256:{n * 64}") for n in ("1", "2", "3")}
        self.faults = faults
        self.stages: dict[str, str] = {}
        self.changes: list[tuple[str, str | None]] = []
        self.tags: dict[str, str] = {}
        self.tag_changes: list[str] = []

    def alias_and_tag(self, model: str, alias: str, tag: str) -> tuple[str | None, str | None]:
        return self.faults.call(lambda: (self.aliases.get(alias), self.tags.get(tag)))

    def set_model_tag(self, model: str, tag: str, value: str) -> None:
        def apply() -> None:
            self.tag_changes.append(value)
            self.tags[tag] = value

        self.faults.call(apply)

    def resolve(self, model: str, number: str) -> Version:
        if number not in self.versions:
            raise NotFound(f"{model} has no version {number}")
        return self.faults.call(lambda: self.versions[number])

    def view(self, model: str) -> RegistryView:
        stages = dict.fromkeys(self.versions, "None")
        return self.faults.call(lambda: RegistryView(True, dict(self.aliases), stages | self.stages))

    def alias(self, model: str, alias: str) -> str | None:
        return self.faults.call(lambda: self.aliases.get(alias))

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        def apply() -> None:
            self.changes.append((alias, number))
            if number is None:
                self.aliases.pop(alias, None)
            else:
                self.aliases[alias] = number

        self.faults.call(apply)


class FakeTraffic:
    """A gateway that refuses to go back in generations."""

    def __init__(self, faults: Faults) -> None:
        self.split: Split | None = None
        self.faults = faults
        self.changes: list[Split] = []

    def live(self, model: str) -> Split | None:
        return self.faults.call(lambda: self.split)

    def settled(self, model: str, split: Split) -> bool:
        return self.faults.call(lambda: self.split == split)

    def shift(self, model: str, split: Split) -> None:
        def apply() -> None:
            if self.split and self.split.generation > split.generation:
                raise RouteSuperseded("older generation")
            self.changes.append(split)
            self.split = split

        self.faults.call(apply)


class AliasOfFakeRegistry(FakeTraffic):
    """The real engine of alias champion in front of a registry of dictionaries."""

    def __init__(self, registry: FakeRegistry) -> None:
        super().__init__(registry.faults)
        self.registry, self.engine = registry, AliasTraffic(registry)

    def live(self, model: str) -> Split | None:
        return self.engine.live(model)

    def settled(self, model: str, split: Split) -> bool:
        return self.engine.settled(model, split)

    def shift(self, model: str, split: Split) -> None:
        try:
            self.engine.shift(model, split)
        finally:
            for tag in self.registry.tag_changes[len(self.changes) :]:
                self.split = decode_split_text(tag)
                assert self.split is not None
                self.changes.append(self.split)


class FakeDataLayer:
    """Tables as lists of the versions that wrote to them, with a log of real changes."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.tables: dict[str, list[str]] = {"predictions": ["1"], "stream": ["1"], "scratch": ["1"]}
        self.damaged: set[str] = set()
        self.restores: list[tuple[str, str]] = []

    def digest(self, model: str, source: DataSource) -> TableDigest:
        return self.faults.call(lambda: self._digest(self.tables[source.name]))

    def _digest(self, rows: list[str]) -> TableDigest:
        return TableDigest(len(rows), "rows " + ",".join(rows), "schema")

    def checkpoint(self, model: str, source: DataSource) -> TableCheckpoint:
        def apply() -> TableCheckpoint:
            rows = self.tables[source.name]
            return TableCheckpoint(str(len(rows)), self._digest(rows))

        return self.faults.call(apply)

    def verify_restorable(self, model: str, source: DataSource, checkpoint: TableCheckpoint) -> None:
        def apply() -> None:
            if source.name in self.damaged:
                raise DataTampered(f"the checkpoint of {source.name} is damaged")

        self.faults.call(apply)

    def restore(
        self, model: str, source: DataSource, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str
    ) -> RestoreResult:
        def apply() -> RestoreResult:
            rows = self.tables[source.name]
            before = self._digest(rows)
            newer = rows[int(checkpoint.position) :]
            if source.name in self.damaged:
                raise DataTampered(f"the checkpoint of {source.name} is damaged")
            if not newer:
                return RestoreResult(before.digest, before.digest, already=True)
            if others := set(newer) - set(versions):
                raise NewerWrite(f"version {min(others)} has written since")
            self.restores.append((source.name, intent))
            self.tables[source.name] = rows[: int(checkpoint.position)]
            return RestoreResult(before.digest, self._digest(self.tables[source.name]).digest, already=False)

        return self.faults.call(apply)


class FakeConfigFiles:
    """Configuration files by name; a content is the number of its version, and its digest names it."""

    def __init__(self, faults: Faults, traffic: FakeTraffic) -> None:
        self.faults = faults
        self.traffic = traffic
        self.files: dict[str, str] = {"thresholds.json": "sha256:1"}
        self.writes: list[tuple[int, str]] = []
        """How many splits had been served before, and the content."""

    def current_digest(self, file: str) -> str:
        return self.faults.call(lambda: self.files.get(file, ""))

    def keep_current(self, file: str) -> str:
        return self.faults.call(lambda: self.files.get(file, ""))

    def keep_bundled(self, model: str, version: Version, source: str) -> str:
        return self.faults.call(lambda: f"sha256:{version.number}")

    def write(self, file: str, content: str) -> None:
        def apply() -> None:
            self.writes.append((len(self.traffic.changes), content))
            if content:
                self.files[file] = content
            else:
                self.files.pop(file, None)

        self.faults.call(apply)


class FakeEvidences:
    """Evidence by what the story wants: "good", or "bad-" and a kind of evidence."""

    def __init__(self, faults: Faults, story: str) -> None:
        self.faults = faults
        self.story = story

    def gather(self, question: EvidenceRequest) -> Evidence:
        return self.faults.call(lambda: self._evidence(question))

    def _evidence(self, question: EvidenceRequest) -> Evidence:
        if question.kind == "data":
            if self.story == "bad-data":
                return MissingEvidence(Outcome.ERROR, "the suite is empty")
            return ValidationResult("m", 100, 3, ())
        if question.gate.metric is Metric.ANSWER_SHAPE:
            return SAME_SHAPE
        bad = 4000 if self.story == f"bad-{question.kind}" else 0
        share = 0.5
        return BadEventCounts((BadEventStratum(share, bad, 10_000 - bad, 0, 10_000),), 0.0, recent=20_000)


class FakeApprovers:
    """Signatures that hold the name of the person, in base64, and one group of two people."""

    def verify(self, statement: bytes, armour: str) -> Signer:
        person = base64.b64decode(armour.split("\n")[1]).decode()
        return Signer(person, f"SHA256:{person}")

    def people(self, group: str) -> frozenset[str]:
        return frozenset({"ann", "ben"})

    @staticmethod
    def sign(statement: ApprovalStatement, person: str) -> bytes:
        """A statement that a person has signed."""
        inner = base64.b64encode(person.encode()).decode()
        begin, end = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
        return SignedText(statement, f"{begin}\n{inner}\n{end}\n").text.encode()


@dataclass
class Scenario:
    """The whole outside world, which outlives a killed process."""

    story: str = "good"
    faults: Faults = field(default_factory=Faults)
    policy: dict[str, object] = field(default_factory=lambda: dict(POLICY))

    def __post_init__(self) -> None:
        self.journal = FakeJournal(self.faults)
        self.registry = FakeRegistry(self.faults)
        by_alias = self.policy["traffic"] == BY_ALIAS["traffic"]
        self.traffic = AliasOfFakeRegistry(self.registry) if by_alias else FakeTraffic(self.faults)
        self.data_layer = FakeDataLayer(self.faults)
        self.config_files = FakeConfigFiles(self.faults, self.traffic)
        self.evidence_source = FakeEvidences(self.faults, self.story)
        self.clock = FakeClock()
        self.approvers: Approvers | None = None
        self.claims = VersionClaims()
        self.window: FreezeBegan | None = None

    def ports(self, actor: str = "test") -> Ports:
        return Ports(
            self.journal,
            self.registry,
            self.traffic,
            self.evidence_source,
            self.clock,
            actor,
            data_layer=self.data_layer,
            config_files=self.config_files,
            other_engine=lambda _choice: self.traffic,
            approvers=self.approvers,
            version_claims=lambda _model, _number: self.claims,
            calendar_freeze=lambda: self.window,
        )

    def request(self, number: str = "2", *, force: bool = False, **more: Any) -> PromotionRequest:
        return PromotionRequest(self.policy, "sha256:suite", number, "a test asks", force=force, **more)

    def picture(self) -> tuple[object, ...]:
        """What people would see at the end, without the count of detours."""
        check_chain(self.journal.entries)
        live = self.traffic.split
        ends = [(e.data["sink"]) for e in self.journal.entries if e.kind == "RolloutEnded"]
        split = (live.champion.number, live.candidate and live.candidate.number, live.weight) if live else None
        return tuple(ends), dict(self.registry.aliases), split
