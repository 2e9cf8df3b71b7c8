"""Hold the route in force for a model with its version pools, request policy and log redactor."""

from dataclasses import dataclass

from surefoot.core.domain import LogPolicy, Split
from surefoot.gateway.inference.routes.request_policy import RequestPolicy
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.redaction import LogRedactor, build_log_redactor


@dataclass(frozen=True, slots=True)
class RouteWithPools:
    """The route in force with the pools that answer; replaced as a whole when the route changes.

    Attributes:
        split: The split that requests are assigned by.
        champion: The pool of the champion.
        candidate: The pool of the candidate, or None.
        rules: What the policy said of requests when the rollout began.
        redactor: Prepares rows for the log; None where all of a row is written.
    """

    split: Split
    champion: VersionPool
    candidate: VersionPool | None
    rules: RequestPolicy
    redactor: LogRedactor | None


@dataclass(frozen=True, slots=True)
class RouteWithoutChampion:
    """The route in force whose champion is not loaded: only a fallback can answer.

    Attributes:
        split: The split, without a candidate.
        rules: What the policy said of requests when the rollout began.
        redactor: Prepares rows for the log; None where all of a row is written.
    """

    split: Split
    rules: RequestPolicy
    redactor: LogRedactor | None


def read_request_policy(settings: GatewaySettings, model: str) -> RequestPolicy:
    """Read the current request settings of a model's policy."""
    kept = settings.kept.get(model)
    return RequestPolicy(settings.units.get(model), LogPolicy() if kept is None else kept)


def make_redactor(rules: RequestPolicy, settings: GatewaySettings, model: str) -> LogRedactor | None:
    """Make the redactor of rows for the prediction log; None where rows are logged whole."""
    return build_log_redactor(model, rules.kept, settings.token, rules.unit, settings.root / "log")
