"""Choose the demo's serving engine, and adapt the demo's policy to an engine other than the gateway."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from surefoot.adapters.config.strict_yaml import YamlDocument, load_yaml
from surefoot.core.errors import Rejected
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineAbilities, EngineName

DEMO_ENGINES = (EngineName.GATEWAY, EngineName.HAPROXY, EngineName.ALIAS)
"""Engines that the demo can be played with: those that run on one machine without a cluster."""
HAPROXY_BACKEND = "flights"
"""Backend of the demo's HAProxy, whose servers are named v1, v2 and so on."""
ALIAS_POLL_INTERVAL_S = 0.25
"""Seconds between two looks of the demo's application at the alias: hours of the replay, as between two batches."""
_MEASURED_BY_GATEWAY = frozenset({"latency", "resource", "gauge"})
"""Metrics of requests that only the gateway measures."""
_SECTIONS: dict[str, Callable[[EngineAbilities], bool]] = {
    "fallback": lambda able: able.fallback,
    "drill": lambda able: able.drills,
}
"""Sections of a policy that an engine may lack, and how its abilities tell."""


def choose_engine(name: str) -> EngineName:
    """The engine of a word that a person typed.

    Raises:
        Rejected: The demo cannot be played with it.
    """
    names = ", ".join(DEMO_ENGINES)
    if name in {EngineName.KUBERNETES, EngineName.RAY}:
        raise Rejected(f"the demo has no cluster for engine '{name}': choose one of {names}")
    if name not in DEMO_ENGINES:
        raise Rejected(f"the demo knows no engine '{name}': choose one of {names}")
    return EngineName(name)


def adapt_policy(file: Path, engine: EngineName, runtime_address: str) -> tuple[str, list[str]]:
    """Rewrite a policy for another engine: what this one cannot do is left out.

    Args:
        file: A policy of the gateway.
        engine: The engine that serves the model in its place.
        runtime_address: Runtime API of HAProxy, such as unix:/run/haproxy/admin.sock; no other engine needs it.

    Returns:
        The policy without its comments, and one sentence for each part that was left out.

    Raises:
        PolicyInvalid: The file is no YAML that means one thing only.
    """
    policy: dict[str, Any] = load_yaml(file, YamlDocument())
    able, left_out = ENGINES[engine], list[str]()
    traffic = {**policy.get("traffic", {}), "engine": str(engine), "candidate_errors_reach_callers": True}
    if engine is EngineName.HAPROXY:
        traffic["haproxy"] = {"addresses": [runtime_address], "backend": HAPROXY_BACKEND, "server": "v{version}"}
    policy["traffic"] = traffic
    if able.ramps and not able.sticky and policy.pop("unit", None):
        left_out.append("no plane stays with one version while the weight grows: each request counts by itself")
    if not able.ramps:
        weights = [f"{step['weight']} %" for step in policy["steps"] if "weight" in step]
        policy["steps"] = [step for step in policy["steps"] if "weight" not in step]
        if weights:
            left_out.append(f"the steps of {', '.join(weights)}: all requests move at once, and the bake judges them")
    if not able.logs_requests:
        left_out += _drop_measured_gates(policy)
    for key, has in _SECTIONS.items():
        if not has(able) and policy.pop(key, None) is not None:
            left_out.append(f"'{key}', which only the gateway has")
    return yaml.safe_dump(policy, sort_keys=False, allow_unicode=True), left_out


def _drop_measured_gates(policy: dict[str, Any]) -> list[str]:
    """Leave gates out whose measurements nothing writes; a sentence for them."""
    gates: dict[str, Any] = policy.get("gates", {})
    dropped = [name for name, gate in gates.items() if gate.get("metric") in _MEASURED_BY_GATEWAY]
    if not dropped:
        return []
    policy["gates"] = {name: gate for name, gate in gates.items() if name not in dropped}
    places = [step[key] for step in policy["steps"] for key in ("hold", "shadow") if key in step]
    places += [policy[key] for key in ("bake", "watch") if key in policy]
    for place in places:
        if "gates" in place:
            place["gates"] = [name for name in place["gates"] if name not in dropped]
    return [f"the gate{'s' if len(dropped) > 1 else ''} {', '.join(dropped)}: nothing measures single requests"]
