"""Control a model's traffic by the settings of a router that runs on Ray Serve.

The router is an application of Ray Serve, and so is each version. The split that was asked for is the router's
`user_config`: Ray Serve gives it to replicas that run, without starting them again, and an older change is refused by
it. A version that a split needs is deployed first, and gets traffic once it runs.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from surefoot.adapters.traffic.host_lock import hold_host_lock
from surefoot.adapters.traffic.ray_api import JsonObject, RayServeApi, ServeState
from surefoot.core.domain import Split, Version
from surefoot.core.errors import (
    ArtifactTampered,
    GatewayUnavailable,
    OutcomeUnknown,
    RegistryUnavailable,
    Rejected,
    RouteSuperseded,
    SurefootError,
    VersionUnavailable,
)
from surefoot.core.traffic_split_json import decode_traffic_split, encode_traffic_split

_BUILDERS = "surefoot.ray_serve.applications"
_ROUTER_CPUS = 0.1
_RUNNING, _FAILED, _DELETING = "RUNNING", "DEPLOY_FAILED", "DELETING"
_SERVES = frozenset({_RUNNING, "UNHEALTHY"})
"""States in which an application answers; some of its replicas may be down."""
_ROUTER = "Router"
_TAKEN = frozenset({"HEALTHY", "UNHEALTHY"})
"""States of a deployment whose replicas have taken its settings."""
_ATTEMPTS = 5
"""How often versions may be removed, started and found stopped for one split before the router is told [count]."""
_CONFIRM_PAUSE_S, _START_PAUSE_S = 0.05, 0.5
"""Time between two looks whether a split is confirmed, and whether a version runs [s]."""
_MAX_SAID = 300


@dataclass(frozen=True, slots=True)
class RayTarget:
    """Which Ray cluster serves a model, and how.

    Attributes:
        address: Its dashboard, which has the REST API.
        unit: Column of the unit; empty where each request counts by itself.
        replicas: Replicas of the router and of each version [count].
        cpus: Processors that Ray reserves for each replica of a version.
        cache: Folder of model versions on each of Ray's nodes.
        patience_s: How long a version may take until it runs [s].
    """

    address: str
    unit: str
    replicas: int
    cpus: float
    cache: str
    patience_s: float

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "RayTarget":
        """Read what the journal keeps of the engine.

        Raises:
            Rejected: Another release has journalled something that this one does not know.
        """
        try:
            return cls(
                str(settings["address"]),
                str(settings.get("unit", "")),
                int(settings["replicas"]),
                float(settings["cpus"]),
                str(settings["cache"]),
                float(settings["patience_s"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Rejected(f"the journal names a Ray cluster that this release does not know: {error!r}") from error


class RayTraffic:
    """The `Traffic` port in front of the applications of Ray Serve."""

    def __init__(self, place: RayTarget, mlflow: str, locks: Path) -> None:
        """Remember where; nothing is contacted yet.

        Args:
            place: The cluster, and how it serves.
            mlflow: Address of the registry, from which Ray's nodes load versions.
            locks: Folder of the lock that orders the writers of this host.
        """
        self._place, self._mlflow = place, mlflow
        self._api = RayServeApi(place.address)
        self._lock = locks / f"ray-{quote(self._api.address, safe='')}.lock"

    def live(self, model: str) -> Split | None:
        """The split that the router's replicas serve; None where the model has no router.

        Where the application of a version is gone or has other bytes, its digest is empty.

        Raises:
            GatewayUnavailable: Ray Serve does not answer, or its router has not confirmed what it was told.
            Rejected: Ray refuses us.
        """
        state = self._api.read()
        split = _known(state, model)
        if split is None:
            return None
        if problem := _unconfirmed(state, model):
            raise GatewayUnavailable(f"Ray at {self._api.address}: {problem}")
        return replace(
            split,
            champion=self._deployed(state, model, split.champion),
            candidate=None if split.candidate is None else self._deployed(state, model, split.candidate),
        )

    def settled(self, model: str, split: Split) -> bool:
        """Whether every replica of the router serves exactly this split; raises what `live` raises."""
        return self.live(model) == split

    def shift(self, model: str, split: Split) -> None:
        """Serve this split; return when every replica of the router has confirmed it.

        A version that is not deployed yet is deployed and waited for first, which takes as long as loading it.

        Raises:
            RouteSuperseded: The router has a split of a higher generation, or another one of the same.
            GatewayUnavailable: Ray Serve does not answer; nothing changed.
            VersionUnavailable: A version does not run yet, or its files cannot be had; callers are served as before.
            ArtifactTampered: A version's bytes are not those of its digest.
            OutcomeUnknown: It may have changed; look with `live`.
            Rejected: The router cannot serve such a split, or a version cannot be loaded.
        """
        if split.mirror:
            raise Rejected("Ray Serve mirrors no requests here")
        if quote(model, safe="") != model:
            raise Rejected(f"'{model}' cannot be a part of an address of Ray Serve: give the model another name")
        for _ in range(_ATTEMPTS):
            starting = self._deploy_or_tell(model, split)
            if not starting:
                return self._confirm(model, split)
            for name, version in starting.items():
                self._wait_for_version(name, model, version)
        raise VersionUnavailable(f"Ray at {self._api.address}: versions of {model} stop as soon as they run")

    def check(self, model: str) -> str:
        """Look whether Ray Serve answers and serves the model; nothing is changed.

        Returns:
            What it serves, as a clause.

        Raises:
            GatewayUnavailable: It does not answer.
            Rejected: It refuses us.
        """
        state, where = self._api.read(), f"Ray Serve at {self._api.address}"
        split = _known(state, model)
        if split is None:
            return f"{where} answers, and serves nothing of it yet"
        names = [name for one in _versions(split) if state.status(name := _version_name(model, one)) not in _SERVES]
        if names:
            raise GatewayUnavailable(f"{where}: application {names[0]} is {state.status(names[0]) or 'not there'}")
        share = f", version {split.candidate.number} at {split.weight:g} %" if split.candidate is not None else ""
        return f"{where} has version {split.champion.number}{share}"

    def _deploy_or_tell(self, model: str, split: Split) -> dict[str, Version]:
        """Tell the router the split, or first deploy what the split needs and is not there.

        Returns:
            Versions that must be waited for, by their application, before the router is told; what serves already is
            not waited for.
        """
        with hold_host_lock(self._lock):
            state = self._api.read()
            before = _check_generation(state, model, split)
            wanted = {_version_name(model, one): one for one in _versions(split)}
            serving = {_version_name(model, one) for one in _versions(before)}
            missing = {
                name: one
                for name, one in wanted.items()
                if self._deployed(state, model, one) != one or state.status(name) in {_FAILED, _DELETING}
            }
            if replaced := missing.keys() & state.applications.keys():
                # Ray Serve calls what is deployed anew by the state that it had before, until it is built.
                self._api.write(state, dict.fromkeys(replaced))
                return missing
            if missing:
                unused = _version_names(state, model) - serving - wanted.keys()
                configs = {name: self._version_config(model, one) for name, one in missing.items()}
                self._api.write(state, {**dict.fromkeys(unused), **configs})
                return missing
            starting = {
                name: one for name, one in wanted.items() if name not in serving and state.status(name) not in _SERVES
            }
            if not starting and (before != split or state.status(_router_name(model)) == _FAILED):
                self._tell_router(state, model, split)
            return starting

    def _tell_router(self, state: ServeState, model: str, split: Split) -> None:
        """Give the router the split, and deploy it where there is none."""
        told = {
            "split": encode_traffic_split(split),
            "unit": self._place.unit,
            "applications": {one.number: _version_name(model, one) for one in _versions(split)},
        }
        name = _router_name(model)
        config = state.config(name) or self._router_config(model)
        first, *others = [dict(one) for one in config["deployments"]]
        self._api.write(state, {name: {**config, "deployments": [{**first, "user_config": told}, *others]}})

    def _wait_for_version(self, name: str, model: str, version: Version) -> None:
        """Return once the application of a version runs, or is removed and can be deployed anew."""
        deadline = time.monotonic() + self._place.patience_s
        while True:
            state = self._api.read()
            status, removed = state.status(name), state.config(name) is None
            if name not in state.applications or (status in _SERVES and not removed):
                return
            if status == _FAILED and not removed:
                raise self._remove_failed(name, f"{model} version {version.number}", state.message(name))
            if time.monotonic() > deadline:
                raise VersionUnavailable(
                    f"Ray at {self._api.address}: {model} version {version.number} does not run after"
                    f" {self._place.patience_s:g} s ({status or 'not there'}): callers are served as before"
                )
            time.sleep(_START_PAUSE_S)

    def _confirm(self, model: str, split: Split) -> None:
        """Return once every replica of the router has taken the split."""
        deadline = time.monotonic() + self._place.patience_s  # the router may have to be started
        while True:
            try:
                state = self._api.read()
            except GatewayUnavailable as error:
                raise OutcomeUnknown(f"Ray was told the split, and does not answer since: {error}") from error
            known = _known(state, model)
            if known is not None and known != split and known.generation >= split.generation:
                raise RouteSuperseded(
                    f"generation {known.generation} of {model} came while {split.generation} was applied"
                )
            if known != split:
                raise OutcomeUnknown(f"the router of {model} on Ray Serve was changed by another hand")
            problem = _unconfirmed(state, model)
            if not problem:
                return
            if state.status(_router_name(model)) == _FAILED or time.monotonic() > deadline:
                raise OutcomeUnknown(
                    f"Ray at {self._api.address} was told the split, and has not confirmed it: {problem}"
                )
            time.sleep(_CONFIRM_PAUSE_S)

    def _remove_failed(self, name: str, what: str, message: str) -> SurefootError:
        """Remove a version that could not be started, so that it is tried again when it is asked for; say why."""
        with hold_host_lock(self._lock):
            state = self._api.read()
            if state.status(name) == _FAILED:
                self._api.write(state, {name: None})
        return _start_failure(what, message)

    def _deployed(self, state: ServeState, model: str, version: Version) -> Version:
        """A version as it is deployed: without a digest where its application is not there, or has other bytes."""
        args = (state.config(_version_name(model, version)) or {}).get("args") or {}
        return version if args.get("digest") == version.digest else replace(version, digest="")

    def _version_config(self, model: str, version: Version) -> JsonObject:
        """How the application of a version is deployed."""
        place = self._place
        return {
            "name": _version_name(model, version),
            "route_prefix": None,
            "import_path": f"{_BUILDERS}:build_version",
            "args": {
                "model": model,
                "number": version.number,
                "digest": version.digest,
                "mlflow": self._mlflow,
                "cache": place.cache,
            },
            "deployments": [
                {"name": "Version", "num_replicas": place.replicas, "ray_actor_options": {"num_cpus": place.cpus}}
            ],
        }

    def _router_config(self, model: str) -> JsonObject:
        """How the router is deployed, without its split."""
        return {
            "name": _router_name(model),
            "route_prefix": f"/models/{model}",
            "import_path": f"{_BUILDERS}:build_router",
            "args": {"model": model},
            "deployments": [
                {
                    "name": _ROUTER,
                    "num_replicas": self._place.replicas,
                    "ray_actor_options": {"num_cpus": _ROUTER_CPUS},
                }
            ],
        }


def _router_name(model: str) -> str:
    """Application of a model's router; a registered model's name holds no colon."""
    return f"{model}:router"


def _version_name(model: str, version: Version) -> str:
    """Application of a version."""
    return f"{model}:v{version.number}"


def _version_names(state: ServeState, model: str) -> set[str]:
    """Applications of all versions of a model that are deployed."""
    return {name for name in state.applications if name.startswith(f"{model}:v")}


def _versions(split: Split | None) -> list[Version]:
    """Versions that a split needs, the champion first."""
    if split is None:
        return []
    return [split.champion, *([] if split.candidate is None else [split.candidate])]


def _known(state: ServeState, model: str) -> Split | None:
    """The split that the router was told last; None without a router, or where another hand told it something else."""
    config = state.config(_router_name(model))
    if config is None or state.status(_router_name(model)) == _DELETING:
        return None
    try:
        return decode_traffic_split(config["deployments"][0]["user_config"]["split"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _check_generation(state: ServeState, model: str, split: Split) -> Split | None:
    """Refuse a split that is superseded; the one before it."""
    before = _known(state, model)
    if before is not None and before != split and before.generation >= split.generation:
        raise RouteSuperseded(
            f"Ray Serve has generation {before.generation} of {model}, which is not older than {split.generation}"
        )
    return before


def _unconfirmed(state: ServeState, model: str) -> str:
    """Why not every replica of the router is known to have taken its split; empty where each has.

    The state of the application does not tell: it is RUNNING until Ray Serve begins to tell the replicas, and says that
    it is being deployed for a moment after each change of any application. So the deployment must have the same
    settings, and be done.
    """
    name = _router_name(model)
    status, router = state.status(name), state.deployment(name, _ROUTER)
    told = (state.config(name) or {"deployments": [{}]})["deployments"][0].get("user_config")
    taken = (router.get("deployment_config") or {}).get("user_config") == told and router.get("status") in _TAKEN
    if taken and status not in {_FAILED, _DELETING}:
        return ""
    if status in _SERVES:
        return f"deployment {_ROUTER} of application {name} is being told"
    return f"application {name} is {status}: {_last_line(state.message(name))}".rstrip(": ")


def _start_failure(what: str, message: str) -> SurefootError:
    """The error for a version that Ray Serve could not start, from the traceback that it tells."""
    said = _last_line(message)
    name, _, reason = said.removeprefix(f"{SurefootError.__module__}.").partition(": ")
    if name == ArtifactTampered.__name__:
        return ArtifactTampered(f"on Ray: {reason}")
    if name == RegistryUnavailable.__name__:
        return VersionUnavailable(f"{what} on Ray: {reason}: nothing was changed")
    return Rejected(f"{what} cannot be served on Ray: {reason if name == Rejected.__name__ else said}")


def _last_line(message: str) -> str:
    """The last line that says something: of a traceback, the error."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines or [""])[-1][:_MAX_SAID]
