"""What an owner promises about a model: gates, steps, actions; plain values without behaviour of their own."""

from dataclasses import dataclass, field
from enum import StrEnum

from surefoot.core.domain import LogPolicy, Outcome, Role


class Metric(StrEnum):
    """What a gate can measure."""

    ERROR_RATE = "error_rate"
    MISSING_LABEL = "missing_label"
    LATENCY = "latency"
    RESOURCE = "resource"
    GAUGE = "gauge"
    VALUE = "value"
    BRIER = "brier"
    LOG_LOSS = "log_loss"
    ABSOLUTE_ERROR = "absolute_error"
    SQUARED_ERROR = "squared_error"
    RMSE = "rmse"
    PINBALL = "pinball"
    ZERO_ONE = "zero_one"
    COST = "cost_per_request"
    DISAGREEMENT = "disagreement"
    ECE = "ece"
    AUC = "auc"
    TPR_GAP = "tpr_gap"
    FPR_GAP = "fpr_gap"
    SELECTION_GAP = "selection_gap"
    LOSS_GAP = "loss_gap"
    INPUT_SHIFT = "input_shift"
    PREDICTION_SHIFT = "prediction_shift"
    EXPECTED_LOSS = "expected_loss"
    GOLDEN = "golden"
    VALIDATION = "validation"
    ANSWER_SHAPE = "answer_shape"


LOSSES = frozenset(
    {
        Metric.BRIER,
        Metric.LOG_LOSS,
        Metric.ABSOLUTE_ERROR,
        Metric.SQUARED_ERROR,
        Metric.RMSE,
        Metric.PINBALL,
        Metric.ZERO_ONE,
        Metric.COST,
    }
)
"""Losses of an answer against its label; both versions are asked about the same requests."""
CONFUSIONS = frozenset({Metric.TPR_GAP, Metric.FPR_GAP, Metric.SELECTION_GAP})
"""Differences between groups in a rate of the decisions."""
GAPS = CONFUSIONS | {Metric.LOSS_GAP}
BINNED = frozenset({Metric.ECE, Metric.AUC})
"""Metrics of a whole distribution of scores, kept as counts by bin."""
PAIRED = LOSSES | GAPS | BINNED | {Metric.DISAGREEMENT}
"""Judged on the same requests, by block."""
SPEEDS = frozenset({Metric.LATENCY, Metric.RESOURCE})
"""Judged on quantiles of a positive measurement of each request."""
EVENTS = frozenset({Metric.ERROR_RATE, Metric.MISSING_LABEL})
"""Judged on a bad event that each trial has or has not."""
LIVE_ONLY = SPEEDS | {Metric.MISSING_LABEL, Metric.VALUE, Metric.GAUGE}
"""What a replay cannot show: only who really served a request has it."""
SHIFTS = frozenset({Metric.INPUT_SHIFT, Metric.PREDICTION_SHIFT})
BY_LABEL_OF_CALLER = "callers get the champion's answers alone, so what became of them says nothing of the candidate"
REPLAY_SHOWS = "it asks for no live requests: name it in a shadow step with 'source: replay'"
NOT_MIRRORED = {
    Metric.MISSING_LABEL: BY_LABEL_OF_CALLER,
    Metric.VALUE: BY_LABEL_OF_CALLER,
    Metric.EXPECTED_LOSS: REPLAY_SHOWS,
    Metric.GOLDEN: REPLAY_SHOWS,
}
"""What mirrored requests cannot show, and why."""


DATA_GATE_NAME = "data"
"""Name of the implicit gate that every rollout starts with: its expectation suite."""
SHAPE_GATE_NAME = "answer_shape"
"""Name of the implicit gate beside it: both versions give answers of the same shape."""


class FailureAction(StrEnum):
    """What an outcome other than PASS leads to."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Reaction:
    """The action that an outcome leads to, after a bounded wait.

    Attributes:
        hold: How long to keep measuring before `then` [seconds].
        then: What happens when the wait is over.
    """

    hold: float
    then: FailureAction


@dataclass(frozen=True, slots=True)
class Costs:
    """What each kind of decision costs, in the owner's money.

    Attributes:
        tp: Alerted and it came true.
        fp: Alerted for nothing.
        fn: Not alerted, and it came true.
        tn: Not alerted, and nothing happened.
    """

    tp: float
    fp: float
    fn: float
    tn: float


@dataclass(frozen=True, slots=True)
class Gate:
    """One rule that must pass.

    Attributes:
        name: Key in the policy file.
        metric: What is measured.
        role: Guardrail (rolls back) or signal (pauses).
        margin: Largest degradation the owner accepts: a share for relative margins, otherwise in the metric's unit;
            None when only `limit` counts.
        relative: Whether `margin` is a share of the champion's value.
        limit: Largest value of the candidate itself, whatever the champion does; None without one.
        quantiles: Quantiles of a latency or resource gate [0 < quantile < 1]; the one of a pinball loss.
        by: Columns whose values are judged one by one, empty for all requests together.
        min_per_slice: Fewest requests of a slice that is judged [count].
        protected: Slices that must have enough data, such as "origin=LGA"; without it the gate cannot pass.
        maturity: Age at which a label counts [seconds].
        coverage: Least share of mature requests that must have a label [0 to 1].
        block: Length of a block of requests that move together [seconds]; 0 when each request is for itself.
        against: What a shift compares with: "champion" or "before".
        ignored: Columns that a shift of inputs does not compare: they may differ, or follow the calendar.
        threshold: Score from which the answer is "yes" [0 to 1].
        costs: Prices of the four kinds of decisions, for a cost.
        of: Loss that a loss gap or an expected loss looks at.
        classes: Names of the classes in the order of the model's probabilities; empty for two classes.
        column: Measured column of a resource, gauge or value gate.
        cap: Value above which more does not count, for a value [unit of the value].
        floor: Value below which less does not count, for a value [unit of the value].
        floored: Whether the policy names that bound; values below one that it does not name are an error.
        higher: Whether more is better, for a value.
        tolerance: Largest difference between two answers that are the same.
        expected: Champion's rate or mean that plans count on, or how often the two versions disagree where each request
            is for itself [probability, or unit of the value]; None when unknown.
        spread: Standard deviation that plans count on, of a block's difference, or of the logarithm of a latency.
    """

    name: str
    metric: Metric
    role: Role = Role.GUARDRAIL
    margin: float | None = 0.0
    relative: bool = False
    limit: float | None = None
    quantiles: tuple[float, ...] = (0.9,)
    by: tuple[str, ...] = ()
    min_per_slice: int = 300
    protected: tuple[str, ...] = ()
    maturity: float = 0.0
    coverage: float = 0.0
    block: float = 86400.0
    against: str = "before"
    ignored: tuple[str, ...] = ()
    threshold: float = 0.5
    costs: Costs | None = None
    of: Metric | None = None
    classes: tuple[str, ...] = ()
    column: str = ""
    cap: float = 1.0
    floor: float = 0.0
    floored: bool = False
    higher: bool = True
    tolerance: float = 1e-6
    expected: float | None = None
    spread: float | None = None


EVERY_REPLAY = 3600.0
"""Time between two looks at requests that were answered before, unless the policy says otherwise [seconds]."""


def usual_interval(hold: float) -> float:
    """Time between two looks at live traffic, unless the policy says otherwise: twelve a hold [seconds]."""
    return min(max(hold / 12.0, LEAST_INTERVAL), 21600.0)


LEAST_INTERVAL = 5.0
"""Shortest time between two looks [seconds]."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """Replay of logged requests through both versions; no traffic moves.

    Attributes:
        window: How far back the replay reaches [seconds].
        min_requests: Fewest labelled requests [count].
        gates: Names of the gates that must pass.
        every: Time between two looks [seconds].
    """

    window: float
    min_requests: int
    gates: tuple[str, ...]
    every: float = EVERY_REPLAY


@dataclass(frozen=True, slots=True)
class LiveShadow:
    """The candidate is asked a share of the callers' requests as well; callers get the champion's answers alone.

    Attributes:
        share: Share of the requests that are mirrored to the candidate [percent].
        hold: Shortest time that requests are mirrored [seconds].
        min_requests: Fewest mirrored requests that both versions answer [count].
        gates: Names of the gates that must pass.
        every: Time between two looks [seconds].
    """

    share: float
    hold: float
    min_requests: int
    gates: tuple[str, ...]
    every: float


@dataclass(frozen=True, slots=True)
class Weight:
    """One rung of the ramp.

    Attributes:
        weight: Share of units that the candidate answers [percent].
        hold: Shortest time at this weight [seconds].
        min_requests: Fewest requests that both arms together answer at this weight [count].
        gates: Names of the gates that must pass.
        every: Time between two looks [seconds].
    """

    weight: float
    hold: float
    min_requests: int
    gates: tuple[str, ...]
    every: float


Step = Shadow | LiveShadow | Weight


@dataclass(frozen=True, slots=True)
class Bake:
    """Time at 100 percent during which the gates stay armed.

    Attributes:
        hold: How long [seconds].
        gates: Names of the gates that roll back.
        every: Time between two looks [seconds].
    """

    hold: float
    gates: tuple[str, ...]
    every: float


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything an owner says about how a model is promoted and taken back.

    Attributes:
        model: Registered model.
        owners: People or teams who answer for it.
        unit: Request column that sticks to one arm, or None for per-request assignment.
        requests_per_minute: Planned traffic, for `lint` and `plan` [count per minute].
        units: Different units that come back, for plans [count]; 0 when unknown.
        stale_after: Age of the newest logged request above which evidence is stale [seconds].
        on_new_candidate: "replace", "queue" or "reject" while a rollout is open.
        false_rollback_budget: Chance that a good candidate is rolled back over the whole rollout [0 to 1].
        suite: Name of the expectation suite of the requests.
        suite_window: How far back the requests are validated [seconds].
        gates: Every gate by name.
        on: Reaction to each outcome other than PASS.
        steps: A replayed shadow first, then a live one, each or none; then the weights, increasing.
        bake: Time after promotion during which a rollback is automatic.
        kept: What of the requests' features stays in the prediction log.
        reshaped: Whether the candidate's answers may have another shape than the champion's.
        suite_every: Time between two validations while the suite has not passed [seconds].
    """

    model: str
    owners: tuple[str, ...]
    unit: str | None
    requests_per_minute: float
    units: float
    stale_after: float
    on_new_candidate: str
    false_rollback_budget: float
    suite: str
    suite_window: float
    gates: dict[str, Gate]
    on: dict[Outcome, Reaction]
    steps: tuple[Step, ...]
    bake: Bake
    kept: LogPolicy = field(default_factory=LogPolicy)
    reshaped: bool = False
    suite_every: float = EVERY_REPLAY

    @property
    def shadow(self) -> Shadow | None:
        """The shadow step that replays logged requests, or None."""
        return next((step for step in self.steps if isinstance(step, Shadow)), None)

    @property
    def live_shadow(self) -> LiveShadow | None:
        """The shadow step that mirrors live requests, or None."""
        return next((step for step in self.steps if isinstance(step, LiveShadow)), None)

    @property
    def ramp(self) -> tuple[Weight, ...]:
        """The weights in order."""
        return tuple(step for step in self.steps if isinstance(step, Weight))
