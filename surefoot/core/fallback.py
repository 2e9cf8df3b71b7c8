"""Define the fallback of a model: a constant, a table or a version that answers when no other version can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Version


@dataclass(frozen=True, slots=True)
class FallbackAnswer:
    """What a caller gets for each row of a request that no version can answer.

    Attributes:
        kind: Kind of the fallback, as in the policy: "constant" or "table".
        json: The answer of one row, as JSON; that of a row whose key is not in the table.
        columns: Columns of the request that are the key of the table; none for a constant.
        answers: Answers of the table as JSON, by the canonical texts of the key (None where a value is missing).
        digest: SHA-256 of the table's file; empty for a constant.
    """

    kind: str
    json: str
    columns: tuple[str, ...] = ()
    answers: Mapping[tuple[str | None, ...], str] = field(default_factory=dict)
    digest: str = ""

    def answers_of(self, names: Sequence[str | int | float] | None, values: Sequence[Sequence[object]]) -> list[str]:
        """The answer of each row of a request, as JSON.

        Args:
            names: Columns of the rows; None for bare arrays, which have no key.
            values: The rows.
        """
        texts = [] if names is None else list(map(str, names))
        if not self.columns or not set(self.columns) <= set(texts):
            return [self.json] * len(values)
        places = [texts.index(column) for column in self.columns]
        return [self.answers.get(tuple(canonical_text(row[at]) for at in places), self.json) for row in values]


@dataclass(frozen=True, slots=True)
class FallbackReference:
    """A version in the registry that a policy names as fallback.

    Attributes:
        model: Registered model; it need not be the one that it answers for.
        number: Version.
    """

    model: str
    number: str

    @property
    def uri(self) -> str:
        """The version as MLflow's users write it."""
        return f"models:/{self.model}/{self.number}"


@dataclass(frozen=True, slots=True)
class FallbackVersion:
    """A version that answers requests that no other version can answer, with the digest of its files.

    Attributes:
        model: Registered model; it need not be the one that it answers for.
        version: The version.
    """

    model: str
    version: Version

    @property
    def uri(self) -> str:
        """The version as MLflow's users write it."""
        return FallbackReference(self.model, self.version.number).uri


FAILOVER_TIME_LIMIT_S = 1.0
"""Longest that a version may take for a request that another one can answer, or that others have failed [s]."""
PYFUNC_FALLBACK_KIND = "pyfunc"
"""Kind of a fallback that is an MLflow version, asked in a process of its own."""
