"""Define the policy section `evidence`: where to read predictions, labels and metrics of other systems."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field

from surefoot.core.domain import LogPolicy
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Duration, OptionalKey, PositiveDuration, Share, Text, Texts, optional_duration
from surefoot.core.policy.violations import Violation, describe_type, rule_error

_VARIABLE_PATTERN = r"^[A-Z_][A-Z0-9_]{0,99}$"
_LABEL_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
_SELECTOR_PATTERN = r"^[A-Za-z_:][A-Za-z0-9_:]*(\{[^{}\[\]]*\})?$"
_URL_PATTERN = r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$"
_PATH_SECRET = re.compile(r"^[A-Za-z0-9+.-]+://[^/]*@|[?&]")
_MIN_TIMEOUT_S = 1.0
_EnvironmentVariable = Annotated[str, Field(pattern=_VARIABLE_PATTERN)]
"""Name of an environment variable."""


def _path(text: str) -> str:
    if _PATH_SECRET.search(text):
        raise rule_error("holds a user, a password or options: give them in the environment, a policy holds no secret")
    return text


def _query(text: str) -> str:
    for name in ("since", "until"):
        if not re.search(rf"(?<!:):{name}\b", text):
            raise rule_error(f"must compare the time with the bound parameters :since and :until; :{name} is missing")
    if not re.match(r"\s*(SELECT|WITH)\b", text, re.IGNORECASE) or ";" in text:
        raise rule_error("expected one SELECT statement, without ';'")
    return text


def _patience(seconds: float) -> float:
    if seconds < _MIN_TIMEOUT_S:
        raise rule_error(f"must be at least {_MIN_TIMEOUT_S:g}s")
    return seconds


class PredictionColumns(PolicyModel):
    """Which column of a source holds which field of a prediction record."""

    request: Text = Field(description="Id of the request.")
    at: Text = Field(description="When the request was received: a timestamp, or Unix seconds.")
    version: Text = Field(description="Number of the version that answered.")
    answer: OptionalKey[Text] = Field(None, description="What the version answered.")
    row: OptionalKey[Text] = Field(None, description="Position of the row in its request; 0 without it.")
    unit: OptionalKey[Text] = Field(None, description="Unit of the policy, where it is no feature.")
    error: OptionalKey[Text] = Field(
        None, description="Why it failed: a text, true, or a number above 0; null, false, 0 or empty when it did not."
    )
    status: OptionalKey[Text] = Field(None, description="HTTP status of the answer; 500 and above is a failure.")
    latency_ms: OptionalKey[Text] = Field(None, description="Time to the answer [ms].")
    latency_s: OptionalKey[Text] = Field(None, description="Time to the answer [seconds].")
    label: OptionalKey[Text] = Field(None, description="What turned out to be true.")
    label_at: OptionalKey[Text] = Field(None, description="When that became known.")
    weight: OptionalKey[Text] = Field(
        None,
        description="Share of the traffic that the candidate had then [percent]; only 'surefoot observe' reads it.",
    )

    def broken_rules(self) -> Iterator[Violation]:
        """A label has a time, and what can be said in two ways is said in one."""
        if (self.label is None) != (self.label_at is None):
            yield Violation(("label",), "needs 'label_at' beside it, and the other way round: late labels do not count")
        if self.latency_ms is not None and self.latency_s is not None:
            yield Violation(("latency_s",), "the latency is in milliseconds or in seconds: one of the two")
        if self.error is not None and self.status is not None:
            yield Violation(("status",), "a failure is told by 'error' or by 'status': one of the two")

    @property
    def named(self) -> dict[str, str]:
        """Column of each field that has one."""
        return {field: column for field, column in self if column is not None}


class LabelColumns(PolicyModel):
    """Which column of a source holds which field of a label."""

    request: Text = Field(description="Id of the request.")
    label: Text = Field(description="What turned out to be true.")
    at: Text = Field(description="When that became known: a timestamp, or Unix seconds.")
    row: OptionalKey[Text] = Field(None, description="Position of the row in its request; 0 without it.")

    @property
    def named(self) -> dict[str, str]:
        """Column of each field that has one."""
        return {field: column for field, column in self if column is not None}


class _Files(PolicyModel):
    """A table of files."""

    path: Annotated[Text, AfterValidator(_path)] = Field(
        description="Folder, file, glob or URL that fsspec knows, such as s3://bucket/predictions; a relative path"
        " begins in the project's folder."
    )

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self.path


class _Query(PolicyModel):
    """A query of a database."""

    url_variable: _EnvironmentVariable = Field(
        description="Environment variable that holds the URL of the database; a policy holds no password."
    )
    query: Annotated[Text, AfterValidator(_query)] = Field(
        description="One SELECT with the bound parameters :since and :until, timestamps with a zone."
    )

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"the database of {self.url_variable}"


class _Predictions(PolicyModel):
    """What every source of predictions has."""

    columns: PredictionColumns = Field(description="Column of each field.")
    features: OptionalKey[Texts] = Field(
        None, description="Columns that are features; every other column of the source without it."
    )


class _Labels(PolicyModel):
    """What every source of labels has."""

    columns: LabelColumns = Field(description="Column of each field.")


class ParquetPredictions(_Predictions, _Files):
    """Predictions in Parquet files."""

    source: Literal["parquet"] = Field(description="Parquet files.")


class DeltaPredictions(_Predictions, _Files):
    """Predictions in a Delta Lake table."""

    source: Literal["delta"] = Field(description="A Delta Lake table.")


class SqlPredictions(_Predictions, _Query):
    """Predictions in PostgreSQL."""

    source: Literal["sql"] = Field(description="A query of PostgreSQL.")


class ParquetLabels(_Labels, _Files):
    """Labels in Parquet files."""

    source: Literal["parquet"] = Field(description="Parquet files.")


class DeltaLabels(_Labels, _Files):
    """Labels in a Delta Lake table."""

    source: Literal["delta"] = Field(description="A Delta Lake table.")


class SqlLabels(_Labels, _Query):
    """Labels in PostgreSQL."""

    source: Literal["sql"] = Field(description="A query of PostgreSQL.")


PredictionSource = ParquetPredictions | DeltaPredictions | SqlPredictions
LabelSource = ParquetLabels | DeltaLabels | SqlLabels
PREDICTION_SOURCES: dict[str, type[BaseModel]] = {
    "parquet": ParquetPredictions,
    "delta": DeltaPredictions,
    "sql": SqlPredictions,
}
"""The class of each source of predictions."""
LABEL_SOURCES: dict[str, type[BaseModel]] = {"parquet": ParquetLabels, "delta": DeltaLabels, "sql": SqlLabels}
"""The class of each source of labels."""


def _selector(text: str) -> str:
    if not re.fullmatch(_SELECTOR_PATTERN, text):
        raise rule_error(
            f'expected a series selector such as requests_total{{job="flights"}}, found {describe_type(text)}'
        )
    return text


_Selector = Annotated[Text, AfterValidator(_selector)]


class PrometheusSection(PolicyModel):
    """Counters of each version in Prometheus."""

    url: Annotated[str, Field(pattern=_URL_PATTERN)] = Field(
        description="Base URL of the server, without user, password or options, such as http://prometheus:9090."
    )
    token_variable: OptionalKey[_EnvironmentVariable] = Field(
        None, description="Environment variable that holds a bearer token for the server."
    )
    version_label: Annotated[str, Field(pattern=_LABEL_PATTERN)] = Field(
        "version", description="Label of the series that holds the number of the version."
    )
    requests: _Selector = Field(description='Counter of all requests of a version, such as requests_total{job="x"}.')
    errors: OptionalKey[_Selector] = Field(
        None, description='Counter of the failed requests among them, such as requests_total{job="x",code=~"5.."}.'
    )
    latency: OptionalKey[_Selector] = Field(
        None, description="Buckets of a histogram of the latency, such as request_duration_seconds_bucket."
    )
    latency_unit: Literal["s", "ms"] = Field("s", description="Unit of the bounds of that histogram.")

    def broken_rules(self) -> Iterator[Violation]:
        """Something is judged of it."""
        if self.errors is None and self.latency is None:
            yield Violation(("errors",), "name the counter of failures ('errors'), the histogram ('latency'), or both")


class EvidenceSection(PolicyModel):
    """Where predictions, labels and metrics are that Surefoot has not recorded."""

    MAX_LATE_S: ClassVar[float] = 30 * 86400.0

    predictions: OptionalKey[Annotated[PredictionSource, Field(discriminator="source")]] = Field(
        None, description="Predictions that applications or servers record elsewhere."
    )
    labels: OptionalKey[Annotated[LabelSource, Field(discriminator="source")]] = Field(
        None, description="Labels in a place of their own."
    )
    prometheus: OptionalKey[PrometheusSection] = Field(
        None, description="Counters that gates of error_rate and latency read instead of predictions."
    )
    reach: PositiveDuration = optional_duration("30d", "How far back the first import reaches.")
    late: Duration = optional_duration("1h", "How long after its own time a row may appear in its source.")
    timeout: Annotated[Duration, AfterValidator(_patience)] = optional_duration(
        "1m", "How long a source is waited for, 1s at least."
    )
    max_unusable: Share = Field(
        0.05, description="Share of the rows that may be unusable before nothing is judged [0 to 1]."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """There is a source, and rows are not read again for ever."""
        if self.predictions is None and self.labels is None and self.prometheus is None:
            yield Violation(("predictions",), "name a source: 'predictions', 'labels' or 'prometheus'")
        if self.late > self.MAX_LATE_S:
            yield Violation(("late",), "must be at most 30d: so much is read again at each look")


@dataclass(frozen=True, slots=True)
class EvidenceOrigin:
    """What a gate's evidence is imported from, and how it is kept.

    Attributes:
        section: The sources.
        kept: What of the features stays in the prediction log.
        unit: Column of the policy's unit; None without one.
    """

    section: EvidenceSection
    kept: LogPolicy
    unit: str | None
