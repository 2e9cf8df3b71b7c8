"""Define the policy sections `data`, `log`, `serving`, `scoring` and `on` (reactions to gate outcomes)."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PlainValidator, WithJsonSchema

from surefoot.core.domain import LogPolicy, Outcome
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Count, Duration, Interval, Name, OptionalKey, Text, Texts, optional_duration
from surefoot.core.policy.violations import Violation, describe_type, missing_key_violation, rule_error

_KEY_VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
_ADDRESS_PATTERN = r"^(tcp|tls|ws|wss)://[^\s:]+:[0-9]+$"


class Data(PolicyModel):
    """The requests that the expectation suite validates."""

    suite: Name = Field(description="Expectation suite of the requests, expectations/<suite>.json.")
    window: Duration = optional_duration("30d", "How far back requests are validated.")
    answers: Literal["same", "any"] = Field(
        "same", description="Whether the candidate's answers may have another shape."
    )
    every: Interval = optional_duration("1h", "Time between two looks while the suite has not passed.")


class Log(PolicyModel):
    """What of a request's features is kept in the prediction log."""

    hashed: Texts = Field((), alias="hash", description="Columns of which a keyed digest is kept.")
    dropped: Texts = Field((), alias="drop", description="Columns of which nothing is kept.")
    share: Annotated[float, Field(ge=0.1, le=100.0, allow_inf_nan=False)] = Field(
        100.0, description="Share of the requests whose features are kept [percent]."
    )
    encrypted: Texts = Field((), alias="encrypt", description="Columns whose values are kept encrypted.")
    key_variable: OptionalKey[Annotated[str, Field(pattern=_KEY_VARIABLE_PATTERN)]] = Field(
        None, description="Environment variable of the keys of encrypted columns; the first encrypts, all decrypt."
    )
    key_file: OptionalKey[Text] = Field(
        None, description="Absolute path of a file of these keys, one a line; one of the two is given."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """A column is hashed, dropped or encrypted; encrypted ones have keys, in one place."""
        for column in self.hashed:
            if column in self.dropped:
                yield Violation(("hash",), f"column '{column}' is dropped as well: one of the two")
        for column in self.encrypted:
            if column in self.dropped or column in self.hashed:
                yield Violation(("encrypt",), f"column '{column}' is hashed or dropped as well: one of them")
        if self.encrypted and self.key_variable is None and self.key_file is None:
            yield missing_key_violation((), "key_variable")
        if self.key_variable is not None and self.key_file is not None:
            yield Violation(("key_file",), "key_variable names the keys already: one of the two")
        if not self.encrypted and (self.key_variable or self.key_file):
            yield missing_key_violation((), "encrypt")
        if self.key_file is not None and not self.key_file.startswith("/"):
            yield Violation(("key_file",), "expected an absolute path: flows and gateway run in other folders")

    @property
    def log_policy(self) -> LogPolicy:
        """What of the requests' features stays in the log."""
        return LogPolicy(
            self.hashed, self.dropped, self.share, self.encrypted, self.key_variable or "", self.key_file or ""
        )


def _address(text: str) -> str:
    if not re.fullmatch(_ADDRESS_PATTERN, text):
        raise rule_error(
            f"expected the address of a scheduler such as tcp://10.0.0.5:8786, found {describe_type(text)}"
        )
    return text


def _engine(value: object) -> object:
    if value == "ray":
        raise rule_error("'ray' is not supported: 'dask' spreads the same work over processes or hosts")
    return value


class Serving(PolicyModel):
    """What the processes of a model's versions run in."""

    environment: Literal["host", "version"] = Field(
        "host",
        description="Python packages of each version's processes: those of this host, or those that it was logged with,"
        " in a virtual environment that is built before its rollout goes on.",
    )


class Scoring(PolicyModel):
    """Where both versions are asked about logged requests."""

    engine: Annotated[Literal["local", "dask"], BeforeValidator(_engine)] = Field(
        "local", description="Who asks both versions about logged requests: this process, or workers of a Dask cluster."
    )
    workers: OptionalKey[Annotated[Count, Field(ge=1, le=1000)]] = Field(
        None, description="Worker processes that are started for it on this host [count]; one a processor by default."
    )
    address: OptionalKey[
        Annotated[Text, AfterValidator(_address), WithJsonSchema({"type": "string", "pattern": _ADDRESS_PATTERN})]
    ] = Field(None, description="Scheduler of a Dask cluster that runs already, such as tcp://10.0.0.5:8786.")

    def broken_rules(self) -> Iterator[Violation]:
        """Only Dask has workers, and a cluster that runs already has its own."""
        if self.engine == "local":
            for key in ("workers", "address"):
                if getattr(self, key) is not None:
                    yield Violation((key,), "only engine 'dask' has it: write 'engine: dask' beside, or leave it out")
        elif self.workers is not None and self.address is not None:
            yield Violation(("workers",), "the cluster at 'address' has workers of its own: one of the two")


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


class Wait(PolicyModel):
    """A wait, and what happens when it is over."""

    hold: Duration = Field(description="How long to keep measuring, such as 2h.")
    then: Literal["rollback", "pause"] = Field(description="What happens when the wait is over.")


def _read_reaction(value: object) -> Reaction:
    """An action word, or {hold: duration, then: action}."""
    if isinstance(value, str):
        if value not in set(FailureAction):
            raise rule_error(f"expected one of {', '.join(FailureAction)}, found {describe_type(value)}")
        if value == FailureAction.HOLD:
            return Reaction(math.inf, FailureAction.PAUSE)
        return Reaction(0.0, FailureAction(value))
    wait = Wait.model_validate(value)
    return Reaction(wait.hold, FailureAction(wait.then))


ReactionSetting = Annotated[Reaction, PlainValidator(_read_reaction, json_schema_input_type=FailureAction | Wait)]


def _reacting(default: Reaction, description: str, words: JsonValue) -> Any:
    """An optional reaction; the JSON Schema shows its default as people write it."""
    return Field(default=default, description=description, json_schema_extra={"default": words})


OLD_BASELINE_UNHEALTHY_KEY = "both_sick"
"""Name of the key `on.baseline_unhealthy` in policies of release 0.1.0."""
BASELINE_UNHEALTHY_KEY = "baseline_unhealthy"


class Reactions(PolicyModel):
    """What each outcome other than PASS leads to."""

    fail: ReactionSetting = _reacting(Reaction(0.0, FailureAction.ROLLBACK), "A guardrail has failed.", "rollback")
    inconclusive: ReactionSetting = _reacting(
        Reaction(7200.0, FailureAction.PAUSE), "Nothing is decided.", {"hold": "2h", "then": "pause"}
    )
    no_data: ReactionSetting = _reacting(
        Reaction(7200.0, FailureAction.ROLLBACK), "There is nothing to judge.", {"hold": "2h", "then": "rollback"}
    )
    stale: ReactionSetting = _reacting(
        Reaction(7200.0, FailureAction.PAUSE), "The log is silent.", {"hold": "2h", "then": "pause"}
    )
    error: ReactionSetting = _reacting(
        Reaction(1800.0, FailureAction.PAUSE), "The evidence cannot be judged.", {"hold": "30m", "then": "pause"}
    )
    baseline_unhealthy: ReactionSetting = _reacting(
        Reaction(0.0, FailureAction.PAUSE), "The champion itself is far worse than before.", "pause"
    )
    both_sick: OptionalKey[ReactionSetting] = Field(
        default=None, description=f"Old name of '{BASELINE_UNHEALTHY_KEY}'.", json_schema_extra={"deprecated": True}
    )

    def broken_rules(self) -> Iterator[Violation]:
        """The old name and the new one are one key."""
        if {OLD_BASELINE_UNHEALTHY_KEY, BASELINE_UNHEALTHY_KEY} <= self.model_fields_set:
            yield Violation(
                (OLD_BASELINE_UNHEALTHY_KEY,), f"this is the old name of '{BASELINE_UNHEALTHY_KEY}': write one"
            )

    @property
    def by_outcome(self) -> dict[Outcome, Reaction]:
        """Reaction to each outcome other than PASS."""
        return {
            Outcome.FAIL: self.fail,
            Outcome.INCONCLUSIVE: self.inconclusive,
            Outcome.NO_DATA: self.no_data,
            Outcome.STALE: self.stale,
            Outcome.ERROR: self.error,
            Outcome.BASELINE_UNHEALTHY: self.both_sick or self.baseline_unhealthy,
        }
