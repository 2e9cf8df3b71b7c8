"""Define the journal events of the watch over a promoted champion, and of the incidents that it opens."""

from dataclasses import dataclass

from surefoot.core.domain import Verdict, Version
from surefoot.core.judging.thresholds import DecisionThresholds


@dataclass(frozen=True, slots=True)
class ChampionJudged:
    """A gate of the standing watch compared the champion with the last proven-good version, on the same requests.

    Attributes:
        rollout: Id of the champion's promotion.
        champion: The version that serves; it stands where a rollout has its candidate.
        against: The proven-good version.
        verdict: What the gate answered; a FAIL says that the proven-good version would do better now.
        level: How sure the verdict had to be.
        evidence: The counters that it was judged on, packed.
        judge: Edition of the judge.
    """

    rollout: str
    champion: Version
    against: Version
    verdict: Verdict
    level: DecisionThresholds | None = None
    evidence: str = ""
    judge: int = 0


@dataclass(frozen=True, slots=True)
class ChampionWatched:
    """The champion was compared with its own past.

    Attributes:
        rollout: Id of the champion's promotion.
        champion: The version that serves.
        alarms: What has left the champion's past, each as a sentence.
        early: The same of what needs no labels, and may be harmless.
        unread: Signals of which too little is known.
        early_signals: Names of the signals in `early`.
        label_delay: Age at which every gate's labels count [seconds].
    """

    rollout: str
    champion: Version
    alarms: tuple[str, ...]
    early: tuple[str, ...]
    unread: tuple[str, ...]
    early_signals: tuple[str, ...] = ()
    label_delay: float = 0.0


@dataclass(frozen=True, slots=True)
class IncidentOpened:
    """Something is wrong with a version that serves, and people must know.

    Attributes:
        incident: Id.
        rollout: Id of the champion's promotion.
        champion: The version that serves.
        trigger: What has found it, the same for the same trouble.
        reason: What is wrong.
        retrain: Prefect deployment that is started because of it; empty for none.
        subject: The version that the incident is about, where that is not the champion.
        rollback: Rollout that takes the version back; empty where none did when the incident was opened.
    """

    incident: str
    rollout: str
    champion: Version
    trigger: str
    reason: str
    retrain: str = ""
    subject: Version | None = None
    rollback: str = ""
