"""The journal of a second model, `loans`, in which everything has happened that a page tells of."""

import time
from dataclasses import dataclass, replace
from typing import Any

import yaml

from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.approvals.approval_events import ApprovalGiven, ApprovalRejected, SignedDecision
from surefoot.core.domain import RolloutKind, Stage, Verdict, Version
from surefoot.core.drills.drill_events import DrillFinished, DrillResult
from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.drills.live_drill_events import LiveDrillResult
from surefoot.core.incidents.incident_events import IncidentTriaged
from surefoot.core.journal.events import (
    CandidateRefused,
    ChampionAdopted,
    EffectDone,
    EffectIntended,
    EndDecided,
    Event,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.served_version_events import ServiceCounted, VersionCounts
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_json import encode_evidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from surefoot.core.triage.triage import Cause
from surefoot.rollout import Ports
from surefoot.settings import Settings
from tests.fakes import APPROVED
from tests.unit.test_gates import arms
from tests.unit.test_paired_binary import RIGHT, sums

LOANS = "loans"
DAY_S = 86400.0
POLICY: dict[str, Any] = {**APPROVED, "model": LOANS, "drill": {"every": "7d", "expires": "14d"}}
GATES = dict(parse_policy(POLICY).gates)
FIRST, GOOD, BAD, NEXT = (Version(str(n), f"sha256:{n:064x}") for n in range(1, 5))
MARKUP = "<script>alert(2)</script>"


@dataclass
class _Clock:
    """A time that is set."""

    time: float

    def now(self) -> float:
        """The time [Unix seconds]."""
        return self.time


class Records:
    """Writes the journal, each entry at the time that is set [days before now]."""

    def __init__(self, journal: SqlJournal) -> None:
        self.started = time.time()
        self.clock = _Clock(self.started)
        self.ports = Ports(journal, None, None, None, self.clock, "test")  # type: ignore[arg-type]

    def at(self, days: float) -> None:
        """Set the time."""
        self.clock.time = self.started - days * DAY_S

    def add(self, *events: Event) -> int:
        """Append events; the sequence of the last one."""
        ledger = self.ports.ledger(LOANS)
        for event in events:
            ledger = self.ports.append(ledger, event)
        return ledger.head

    def split(self, rollout: str, champion: Version, candidate: Version | None, weight: float) -> None:
        """Put a split in force."""
        seq = self.add(EffectIntended(rollout, SetSplit(champion, candidate, weight)))
        self.add(EffectDone(rollout, seq, reconciled=False, took_ms=4.0))

    def open(self, rollout: str, candidate: Version, champion: Version, **more: Any) -> None:
        """Open a rollout."""
        kind = more.pop("kind", RolloutKind.PROMOTION)
        facts = {"attempt": 1, "reason": "alias candidate moved", **more}
        self.add(RolloutOpened(rollout, kind, candidate, champion, POLICY, "", "", "salt", **facts))

    def judged(self, rollout: str, stage: Stage, look: int, gate: Any, found: Evidence, least: int = 0) -> Verdict:
        """Judge evidence for real, and journal it."""
        level = DecisionThresholds(allowance=2.0, weight=5.0, min_requests=least, per_minute=600.0)
        verdict = judge(gate, found, level)
        self.add(GateJudged(rollout, stage, 0, look, verdict, level, encode_evidence(found), 2))
        return verdict


def signed(person: str, outcomes: dict[str, str]) -> SignedDecision:
    """A decision of a person; its signature is not looked at any more."""
    return SignedDecision(person, "SHA256:abc", f"nonce-{person}", "{}", "", "sha256:0", outcomes)


def write_records(config: Settings, journal: SqlJournal) -> Records:
    """Write policy, approvers and journal of the second model.

    Version 2 is promoted with an approval and taken back later, version 3 is rejected, version 9 is refused, and
    version 4 ramps up to the approval of two people, of whom one has signed.
    """
    configs = config.configs
    configs.mkdir(parents=True, exist_ok=True)
    (configs / f"{LOANS}.yaml").write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    people = "groups:\n  releasers: [ann@example.com, ben@example.com, cyd@example.com]\n"
    (configs / "approvers.yaml").write_text(people, encoding="utf-8")
    records = Records(journal)
    records.at(40)
    records.add(ChampionAdopted(FIRST))
    records.split("", FIRST, None, 0.0)
    _promote(records)
    _drill(records)
    _take_back(records)
    _turn_away(records)
    _wait(records)
    return records


def _promote(records: Records) -> None:
    """Version 2 is approved, ramps up, and is promoted."""
    records.at(38)
    records.open("up-2", GOOD, FIRST, authors=("ada",), ticket="CHG-7", provenance={"code": f"commit 1a2b {MARKUP}"})
    records.judged("up-2", Stage.SHADOWING, 1, GATES["errors"], arms(40_000, 0.02, 0.02))
    records.add(StageEntered("up-2", Stage.AWAITING_APPROVAL, 0, "the shadow has passed"))
    records.add(ApprovalGiven("up-2", 0, signed("ben@example.com", {"errors": "PASS"}), "looks right"))
    records.add(StageEntered("up-2", Stage.RAMPING, 0, "approved"))
    records.split("up-2", FIRST, GOOD, 5.0)
    records.at(37)
    records.add(StageEntered("up-2", Stage.PROMOTING, 0, "every gate passed"))
    records.split("up-2", GOOD, None, 0.0)
    records.add(StageEntered("up-2", Stage.BAKING, 0, "it answers everything"))
    records.at(36)
    records.add(RolloutEnded("up-2", Stage.PROMOTED, "baked: every gate passed to the end"))
    counts = (VersionCounts("1", 12_000), VersionCounts("2", 34_567, 30_001, 30_000, 0.1234, "brier"))
    records.add(ServiceCounted(0.0, records.clock.time, 0.0, records.clock.time, counts))


def _drill(records: Records) -> None:
    """The way back of version 2 is rehearsed: passed, live, failed, and with a person."""
    records.at(21)
    results = (
        DrillResult(DrillFault.ERRORS, True, "errors", 52, 31.0, 41.0, Cause.CONTRACT.value, True, 0),
        DrillResult(DrillFault.DRIFT, False, "", None, None, None, "", None, 0),
    )
    records.add(DrillFinished("drill-old", "twin", GOOD, FIRST, results, 1, 240.0))
    records.at(20)
    live = LiveDrillResult(1234, 0, 8.0, 9.0, 1200, 3)
    records.add(DrillFinished("drill-live", "live", GOOD, FIRST, (), 1, 300.0, live=live))
    records.at(15)
    failed = replace(results[1], problem=f"the drift was not seen {MARKUP}")
    records.add(DrillFinished("drill-bad", "twin", GOOD, FIRST, (results[0], failed), 1, 200.0))
    records.at(14)
    table = DrillFinished("drill-table", "tabletop", GOOD, FIRST, results[:1], 1, 200.0, ("rolled back after 40 s",))
    records.add(table)


def _take_back(records: Records) -> None:
    """Version 2 is taken back, which is an incident."""
    records.at(10)
    records.open("back-1", FIRST, GOOD, kind=RolloutKind.ROLLBACK, reason="brier is worse since Monday")
    records.split("back-1", FIRST, None, 0.0)
    records.add(EndDecided("back-1", Stage.FAST_ROLLED_BACK, "", "brier is worse since Monday"))
    records.add(RolloutEnded("back-1", Stage.FAST_ROLLED_BACK, "brier is worse since Monday"))
    records.add(IncidentOpened("inc-1", "up-2", FIRST, "rollback", "taken back", subject=GOOD, rollback="back-1"))
    records.add(IncidentTriaged("inc-1", Cause.FEATURE, "income", "income comes in another unit"))


def _turn_away(records: Records) -> None:
    """Version 3 fails in its shadow, and version 9 is refused."""
    records.at(8)
    records.open("up-3", BAD, FIRST)
    records.judged("up-3", Stage.SHADOWING, 1, GATES["errors"], arms(4_000, 0.3, 0.02))
    records.add(EndDecided("up-3", Stage.REJECTED, "errors", f"errors FAIL {MARKUP}"))
    records.add(RolloutEnded("up-3", Stage.REJECTED, f"errors FAIL {MARKUP}"))
    records.add(CandidateRefused("9", "alias", f"its files are not those that were registered {MARKUP}"))


def _wait(records: Records) -> None:
    """Version 4 waits for two people: one has approved, and a statement was refused."""
    records.at(0.25)
    records.open("up-4", NEXT, FIRST, authors=("cyd",))
    records.add(StageEntered("up-4", Stage.RAMPING, 0, "approved"))
    records.split("up-4", FIRST, NEXT, 5.0)
    for look, n in enumerate((100, 160, 220, 280), 1):
        records.at((5 - look) / 144)
        records.judged("up-4", Stage.RAMPING, look, GATES["errors"], arms(n, 0.02, 0.02))
        records.judged("up-4", Stage.RAMPING, look, RIGHT, replace(sums(n, 10, 10, 8), requests=n + 20, late=3), 400)
    records.at(1 / 48)
    records.add(StageEntered("up-4", Stage.AWAITING_APPROVAL, 1, "5 % of the units answered"))
    records.add(ApprovalGiven("up-4", 1, signed("ann@example.com", {"errors": "INCONCLUSIVE"}), "I have looked"))
    refused = f"eve@example.com is not in group 'releasers' {MARKUP}"
    records.add(ApprovalRejected("up-4", refused, "eve@example.com"))
    records.at(0)


HOME = f"/models/{LOANS}"
PAGES = (
    HOME,
    f"{HOME}/versions",
    *(f"{HOME}/versions/{number}" for number in ("1", "2", "3", "4", "9")),
    f"{HOME}/drills",
    f"{HOME}/rollouts/up-4",
    *(f"{HOME}/rollouts/{rollout}/approval" for rollout in ("up-2", "up-4", "back-1")),
)
"""Every kind of page of the model."""
