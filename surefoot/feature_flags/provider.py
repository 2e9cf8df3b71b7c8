"""Answer OpenFeature flags with the model version that serves a customer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    FlagNotFoundError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata

from surefoot.core.assignment import assign_arm
from surefoot.core.domain import Arm, Version
from surefoot.feature_flags.split_follower import SplitFollower

if TYPE_CHECKING:
    from openfeature.flag_evaluation import FlagValueType

_TIME_TO_LIVE_S = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Answer:
    """Who answers a customer, and why."""

    version: Version
    arm: Arm
    reason: Reason
    generation: int

    def details(self, value: _T) -> FlagResolutionDetails[_T]:
        """The same with a flag's value, in OpenFeature's words; its `version` is the generation of the split."""
        told = {"version": str(self.generation), "digest": self.version.digest}
        return FlagResolutionDetails(value, reason=self.reason, variant=self.arm.value, flag_metadata=told)


def _no_number(flag: str) -> str:
    return f"{flag} is a text (the number of a version) or a boolean (is it the candidate?)"


class SurefootProvider(AbstractProvider):
    """The splits of models as feature flags, evaluated in this process.

    The flag's key is the registered model, and the targeting key is the unit (such as a customer). A text flag is the
    number of the version, a boolean one whether it is the candidate. Where the controller is out of reach for the time
    to live, every unit gets the champion that was known last.
    """

    def __init__(
        self,
        page: str,
        models: Collection[str],
        *,
        token: str = "",
        tls_ca: str = "",
        time_to_live: float = _TIME_TO_LIVE_S,
        patience: float = _TIME_TO_LIVE_S,
    ) -> None:
        """Follow nothing yet: OpenFeature starts it.

        Args:
            page: Address of the status page, which the controller serves.
            models: Registered models that are asked for.
            token: Access token of a viewer of these models.
            tls_ca: PEM file of the authorities that the page's certificate is verified against; those of this host
                without it.
            time_to_live: How long a split counts when the controller is silent [s].
            patience: How long the start waits for the first splits [s].
        """
        super().__init__()
        self._models, self._patience = frozenset(models), patience
        self._follower = SplitFollower(page, token, models, time_to_live, self._emit, tls_ca)

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - the protocol's
        """Follow the splits, and wait for the first ones.

        Raises:
            ProviderNotReadyError: None came; it goes on trying.
        """
        self._follower.start()
        if not self._follower.wait(self._patience):
            raise ProviderNotReadyError(f"no split has come from the controller: {self._follower.problem}")

    def shutdown(self) -> None:
        """Follow no longer."""
        self._follower.stop()

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="surefoot")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The number of the version that answers a customer."""
        del default_value
        found = self._resolve(flag_key, evaluation_context)
        return found.details(found.version.number)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Whether the candidate answers a customer."""
        del default_value
        found = self._resolve(flag_key, evaluation_context)
        return found.details(found.arm is Arm.CANDIDATE)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Refuse: a version's number is a text."""
        del default_value, evaluation_context
        raise TypeMismatchError(_no_number(flag_key))

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Refuse: a version's number is a text."""
        del default_value, evaluation_context
        raise TypeMismatchError(_no_number(flag_key))

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: "Sequence[FlagValueType] | Mapping[str, FlagValueType]",
        evaluation_context: EvaluationContext | None = None,
    ) -> "FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]":
        """The version that answers a customer, with the address by which MLflow loads it."""
        del default_value
        found = self._resolve(flag_key, evaluation_context)
        number = found.version.number
        told: dict[str, FlagValueType] = {"version": number, "uri": f"models:/{flag_key}/{number}"}
        return found.details(told)

    def _resolve(self, model: str, context: EvaluationContext | None) -> "_Answer":
        """Who answers a customer.

        Raises:
            FlagNotFoundError: The model is none of those that are followed.
            ProviderNotReadyError: No split of it was ever said.
            TargetingKeyMissingError: There is no customer.
        """
        if model not in self._models:
            known = ", ".join(sorted(self._models))
            raise FlagNotFoundError(f"{model} is none of the models of this provider: {known}")
        followed = self._follower.split(model)
        if followed is None:
            raise ProviderNotReadyError(f"no split of {model} is known: {self._follower.problem or 'it is not served'}")
        unit = context.targeting_key if context else None
        if not unit:
            raise TargetingKeyMissingError(f"the targeting key is the unit of {model}, such as a customer")
        split = followed.split
        if not followed.is_fresh:
            return _Answer(split.champion, Arm.CHAMPION, Reason.STALE, split.generation)
        arm = assign_arm(split, unit, unit)
        version = split.candidate if arm is Arm.CANDIDATE and split.candidate else split.champion
        shared = Reason.SPLIT if split.candidate and split.weight else Reason.STATIC
        return _Answer(version, arm, Reason.TARGETING_MATCH if split.lists(unit) else shared, split.generation)

    def _emit(self, what: str) -> None:
        """Tell OpenFeature, and so the application's handlers, what became of the splits."""
        if not hasattr(self, "_on_emit"):
            return
        details = ProviderEventDetails(flags_changed=sorted(self._models))
        emit = {
            "ready": self.emit_provider_ready,
            "changed": self.emit_provider_configuration_changed,
            "stale": self.emit_provider_stale,
        }
        emit[what](details)
