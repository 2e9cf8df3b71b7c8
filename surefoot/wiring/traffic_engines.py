"""Build and check the client of a serving engine that a policy names instead of the gateway."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from surefoot.adapters.config.policy_file import read_cached_policy
from surefoot.adapters.config.policy_folder import find_cached_policy_file
from surefoot.adapters.traffic.alias import AliasTraffic
from surefoot.adapters.traffic.haproxy import HaproxyTraffic
from surefoot.adapters.traffic.kubernetes.kubernetes_traffic import KubernetesTarget, KubernetesTraffic
from surefoot.adapters.traffic.ray_serve import RayTarget, RayTraffic
from surefoot.core.errors import Rejected
from surefoot.core.policy.traffic.haproxy_section import HaproxySection
from surefoot.core.ports import Traffic
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.serving_engines.engine_choice import EngineChoice
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_registry

_CHECK_DEADLINE_S = 20.0
"""How long an engine is asked again that is only looked at [s]."""
_Factory = Callable[[Settings, EngineChoice, float], Traffic]


def _alias(config: Settings, _choice: EngineChoice, deadline_s: float) -> Traffic:
    return AliasTraffic(make_registry(config, deadline_s))


def _haproxy(config: Settings, choice: EngineChoice, _deadline_s: float) -> Traffic:
    where = HaproxySection.model_validate(dict(choice.settings))
    return HaproxyTraffic(where.addresses, where.backend, where.server, config.home / "locks")


def _kubernetes(_config: Settings, choice: EngineChoice, _deadline_s: float) -> KubernetesTraffic:
    return KubernetesTraffic(KubernetesTarget.from_settings(choice.settings))


def _ray(config: Settings, choice: EngineChoice, _deadline_s: float) -> RayTraffic:
    return RayTraffic(RayTarget.from_settings(choice.settings), config.mlflow, config.home / "locks")


_FACTORIES: Mapping[EngineName, _Factory] = MappingProxyType(
    {
        EngineName.ALIAS: _alias,
        EngineName.HAPROXY: _haproxy,
        EngineName.KUBERNETES: _kubernetes,
        EngineName.RAY: _ray,
    }
)
"""How each engine but the gateway is made; a new engine is one more entry."""


def build_engine_client(config: Settings, choice: EngineChoice, deadline_s: float = 20.0) -> Traffic:
    """The engine of a choice that is not the gateway; it holds nothing that must be closed.

    Args:
        config: Where everything is.
        choice: Which engine, and what reaches it.
        deadline_s: How long the engine may be asked again while it does not answer [s].

    Raises:
        Rejected: This release has no such engine.
    """
    if choice.name not in _FACTORIES:
        raise Rejected(f"engine '{choice.name}' is not served by this release")
    return _FACTORIES[choice.name](config, choice, deadline_s)


def wanted_engine(config: Settings, model: str) -> EngineChoice | None:
    """The engine that a model's policy asks for; None where there is no policy that can be read."""
    with suppress(Rejected):
        return read_cached_policy(find_cached_policy_file(config.configs, model)).traffic.engine_choice
    return None


def check_engine(config: Settings, choice: EngineChoice, model: str) -> str:
    """What a model's engine says of itself, in one line; empty where its engine is looked at elsewhere or not at all.

    Raises:
        SurefootError: The engine cannot be reached, or cannot serve the model.
    """
    if choice.name is EngineName.KUBERNETES:
        return f"model {model}: {_kubernetes(config, choice, _CHECK_DEADLINE_S).check(model)}"
    if choice.name is EngineName.RAY:
        return f"model {model}: {_ray(config, choice, _CHECK_DEADLINE_S).check(model)}"
    return ""
