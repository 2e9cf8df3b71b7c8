"""Define the metrics that the gates of a policy can measure, and groups of them such as loss metrics."""

from enum import StrEnum


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
    CORNERS = "corners"


LOSS_METRICS = frozenset(
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
GROUP_RATE_METRICS = frozenset({Metric.TPR_GAP, Metric.FPR_GAP, Metric.SELECTION_GAP})
"""Differences between groups in a rate of the decisions."""
GAP_METRICS = GROUP_RATE_METRICS | {Metric.LOSS_GAP}
SCORE_BIN_METRICS = frozenset({Metric.ECE, Metric.AUC})
"""Metrics of a whole distribution of scores, kept as counts by bin."""
PAIRED_METRICS = LOSS_METRICS | GAP_METRICS | SCORE_BIN_METRICS | {Metric.DISAGREEMENT}
"""Judged on the same requests, by block."""
MEASUREMENT_METRICS = frozenset({Metric.LATENCY, Metric.RESOURCE})
"""Judged on quantiles of a positive measurement of each request."""
BAD_EVENT_METRICS = frozenset({Metric.ERROR_RATE, Metric.MISSING_LABEL})
"""Judged on a bad event that each trial has or has not."""
OBSERVABILITY_METRICS = frozenset({Metric.ERROR_RATE, Metric.LATENCY})
"""What live traffic shows at once, without labels."""
LIVE_ONLY_METRICS = MEASUREMENT_METRICS | {Metric.MISSING_LABEL, Metric.VALUE, Metric.GAUGE}
"""What a replay cannot show: only who really served a request has it."""
SHIFT_METRICS = frozenset({Metric.INPUT_SHIFT, Metric.PREDICTION_SHIFT})
_BY_LABEL_OF_CALLER = "callers get the champion's answers alone, so what became of them says nothing of the candidate"
_REPLAY_SHOWS = "it asks for no live requests: name it in a shadow step with 'source: replay'"
NOT_MIRRORED_METRIC_REASONS = {
    Metric.MISSING_LABEL: _BY_LABEL_OF_CALLER,
    Metric.VALUE: _BY_LABEL_OF_CALLER,
    Metric.EXPECTED_LOSS: _REPLAY_SHOWS,
    Metric.GOLDEN: _REPLAY_SHOWS,
}
"""What mirrored requests cannot show, and why."""
CLASS_LOSS_METRICS = frozenset({Metric.BRIER, Metric.LOG_LOSS, Metric.ZERO_ONE})
"""Losses that are defined for more than two classes."""
BINARY_METRICS = frozenset({Metric.COST, *SCORE_BIN_METRICS, *GROUP_RATE_METRICS})
"""Metrics of a yes or no; `classes` says which label is which."""
