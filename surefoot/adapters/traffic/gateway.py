"""Control traffic through the HTTP interface of Surefoot's own gateway."""

import ssl
from urllib.parse import quote

import httpx

from surefoot.core.domain import Split, Version
from surefoot.core.errors import (
    ArtifactTampered,
    GatewayUnavailable,
    OutcomeUnknown,
    Rejected,
    RouteSuperseded,
    SurefootError,
    VersionUnavailable,
)
from surefoot.core.fallback import FallbackVersion
from surefoot.core.operator_reason import clean_reason
from surefoot.core.traffic_split_json import (
    TRAFFIC_SPLIT_KEYS,
    TRAFFIC_SPLIT_OPTIONS,
    decode_traffic_split,
    encode_traffic_split,
    encode_version,
)

_ASK = httpx.Timeout(5.0, connect=2.0)
_SHIFT = httpx.Timeout(5.0, connect=2.0, read=60.0)  # the gateway may have to load a version before it can say yes
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class GatewayTraffic:
    """The `Traffic` port in front of one gateway.

    Attributes:
        base_url: Where the gateway listens.
    """

    def __init__(self, base_url: str, token: str, verify: ssl.SSLContext | bool = True) -> None:
        """Remember where and the control token; nothing is contacted yet.

        Proxies of the environment are not used: a rollback must not depend on one.

        Args:
            base_url: Where the gateway listens.
            token: Control token.
            verify: What its certificate is verified against; True trusts the usual authorities.
        """
        self.base_url = base_url.rstrip("/")
        # One client, because making one costs more than a rollback may; no connection is kept that could be stale.
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"},
            timeout=_ASK,
            trust_env=False,
            verify=verify,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def close(self) -> None:
        """Close the client; another call needs another engine."""
        self._client.close()

    def live(self, model: str) -> Split | None:
        """The split that is being served now, or None when the model is not served.

        Raises:
            GatewayUnavailable: The gateway does not answer, or says something we cannot read.
        """
        told = self._route(model)
        return None if told is None else self._read(told)

    def settled(self, model: str, split: Split) -> bool:
        """Whether every worker of the gateway has acknowledged exactly this split, and it is on the disk.

        Raises:
            GatewayUnavailable: The gateway does not answer, or says something we cannot read.
        """
        told = self._route(model)
        return told is not None and bool(told.get("settled", True)) and self._read(told) == split

    def _route(self, model: str) -> dict[str, object] | None:
        """What the gateway says of a model's route; None when it does not serve the model."""
        reply = self._get(f"/models/{quote(model, safe='')}/route")
        if reply.status_code in {httpx.codes.NOT_FOUND, httpx.codes.SERVICE_UNAVAILABLE}:
            return None
        told = self._json(reply)
        return told if told.get("serving") else None

    def _read(self, told: dict[str, object]) -> Split:
        try:
            return _split(told)
        except (KeyError, TypeError, ValueError) as error:
            raise GatewayUnavailable(f"{self.base_url} tells no complete route: {error!r}") from error

    def shift(self, model: str, split: Split) -> None:
        """Serve this split; return when it is acknowledged: switched, and written to the gateway's disk.

        Raises:
            RouteSuperseded: A split with a higher generation is being served.
            GatewayUnavailable: The gateway, or the registry it loads from, does not answer; nothing changed.
            OutcomeUnknown: It may have changed; look with `live`.
            ArtifactTampered: A version's bytes are not those of its digest.
            Rejected: The gateway refuses the route, or a version cannot be loaded.
        """
        url = f"{self.base_url}/models/{quote(model, safe='')}/route"
        try:
            reply = self._client.put(url, json=encode_traffic_split(split), timeout=_SHIFT)
        except _NEVER_SENT as error:
            raise GatewayUnavailable(f"{self.base_url} does not answer: {error!r}") from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"{self.base_url} did not say whether it took the route: {error!r}") from error
        if reply.status_code == httpx.codes.OK:
            return
        raise _refusal(reply)

    def set_standby(self, model: str, generation: int, standby: Version | None, *, going_back: bool = False) -> None:
        """Name the version that answers requests that the champion fails, and that stays loaded; None names none.

        Args:
            model: Registered model.
            generation: Of the split that it belongs to.
            standby: The version.
            going_back: Whether the candidate of the split is what traffic goes back to: the kill switch then gives it
                everything.

        Raises:
            RouteSuperseded: Another split is being served.
            GatewayUnavailable: The gateway does not answer; nothing changed.
            OutcomeUnknown: It may have changed.
            Rejected: The gateway refuses, as one of an earlier release does.
        """
        version = None if standby is None else encode_version(standby)
        told: dict[str, object] = {"generation": generation, "version": version, "going_back": going_back}
        self._name(model, "standby", told)

    def _name(self, model: str, what: str, told: dict[str, object]) -> None:
        """Tell the gateway which version is to be kept loaded for a purpose; raises what `set_standby` raises."""
        try:
            reply = self._client.put(f"{self.base_url}/models/{quote(model, safe='')}/{what}", json=told)
        except _NEVER_SENT as error:
            raise GatewayUnavailable(f"{self.base_url} does not answer: {error!r}") from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"{self.base_url} did not say whether it took the {what}: {error!r}") from error
        if reply.status_code != httpx.codes.OK:
            raise _refusal(reply)

    def set_fallback(self, model: str, fallback: FallbackVersion | None) -> None:
        """Have the gateway load the version that answers what no other version can; None unloads it.

        Raises:
            RouteSuperseded: The model has no route yet.
            GatewayUnavailable: The gateway does not answer; nothing changed.
            OutcomeUnknown: It may have changed.
            Rejected: The gateway refuses, as one of an earlier release does.
        """
        named = None if fallback is None else {"model": fallback.model, "version": encode_version(fallback.version)}
        self._name(model, "fallback", {"fallback": named})

    def set_kill_switch(self, reason: str) -> str:
        """Set every candidate of every model to 0; no route gives one traffic until `lift_kill_switch`.

        Returns:
            What is not as it should be though the switch is in force; empty when nothing is.

        Raises:
            GatewayUnavailable: The gateway does not answer; nothing changed.
            OutcomeUnknown: It may have changed; do it again.
            Rejected: The gateway refuses.
        """
        return self._switch("PUT", clean_reason(reason).text.encode())

    def lift_kill_switch(self) -> None:
        """Let candidates have traffic again, with their next route; raises what `set_kill_switch` raises."""
        self._switch("DELETE", b"")

    def _switch(self, method: str, body: bytes) -> str:
        try:
            reply = self._client.request(method, f"{self.base_url}/kill", content=body, timeout=_SHIFT)
        except _NEVER_SENT as error:
            raise GatewayUnavailable(f"{self.base_url} does not answer: {error!r}") from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"{self.base_url} did not say whether it took the switch: {error!r}") from error
        if reply.status_code == httpx.codes.INSUFFICIENT_STORAGE:
            return str(reply.json().get("message", "it cannot be written: a restart of the gateway forgets it"))
        if reply.status_code != httpx.codes.OK:
            raise _refusal(reply)
        return ""

    def stats(self, model: str) -> dict[str, object]:
        """Counts of one gateway since it started, by version.

        Raises:
            GatewayUnavailable: The gateway does not answer, or does not know the model.
        """
        return self._json(self._get(f"/models/{quote(model, safe='')}/stats"))

    def serving_notes(self, model: str) -> tuple[str, ...]:
        """What a person should know of how a model is served: that it cannot be, or one request at a time, and why.

        Raises:
            GatewayUnavailable: The gateway does not answer.
        """
        try:
            told = self._get("/health").json()["models"].get(model, {})
            alone = dict(told.get("one_at_a_time", {}))
            error = str(told.get("error", ""))
            standby, fallback = told.get("standby") or {}, told.get("fallback_version") or {}
        except (AttributeError, KeyError, TypeError, ValueError):
            return ()  # an earlier release says less
        notes = [f"{model} cannot be served: {error}"] if error else []
        if standby and not standby.get("loaded", True):
            notes.append(
                f"proven-good version {standby.get('version')} is not loaded: it cannot answer for the champion"
            )
        if fallback and not fallback.get("loaded", True):
            notes.append(f"fallback {fallback.get('uri')} is not loaded: it cannot answer when no version can")
        return (*notes, *(f"version {number} is asked one request at a time: {why}" for number, why in alone.items()))

    def standby(self, model: str) -> tuple[str, bool] | None:
        """Number of the version that stays loaded as the target of a rollback, and whether it is; None without one.

        Raises:
            GatewayUnavailable: The gateway does not answer.
        """
        try:
            told = self._get("/health").json()["models"][model].get("standby") or {}
        except (AttributeError, KeyError, TypeError, ValueError):
            return None  # an earlier release says less
        return (str(told["version"]), bool(told.get("loaded", True))) if told else None

    def generations(self) -> dict[str, int]:
        """The generation that is in force of every model that the gateway knows.

        Raises:
            GatewayUnavailable: The gateway does not answer, or says something we cannot read.
        """
        try:
            told = dict(self._get("/health").json()["models"])
            return {str(name): int(state["generation"]) for name, state in told.items() if state.get("generation")}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GatewayUnavailable(f"{self.base_url} tells no generations: {error!r}") from error

    def served_states(self) -> dict[str, str]:
        """What the gateway says of the state of each model that it serves: the same text as long as nothing changes.

        A model that cannot be loaded is left out.

        Raises:
            GatewayUnavailable: The gateway does not answer, or says something we cannot read.
        """
        try:
            told = self._get("/health").json()
            killed = str(told.get("killed", ""))
            return {
                str(name): f"{sorted(state.items())} {killed}"
                for name, state in told["models"].items()
                if state.get("generation") and state.get("loaded")
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GatewayUnavailable(f"{self.base_url} tells no states: {error!r}") from error

    def kill_switch_reason(self) -> str:
        """Why the kill switch is set; empty when it is not.

        Raises:
            GatewayUnavailable: The gateway does not answer.
        """
        try:
            return str(self._get("/health").json().get("killed", ""))
        except (AttributeError, ValueError):
            return ""

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(self.base_url + path)
        except httpx.HTTPError as error:
            raise GatewayUnavailable(f"{self.base_url} does not answer: {error!r}") from error

    def _json(self, reply: httpx.Response) -> dict[str, object]:
        try:
            told = reply.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError) as error:
            raise GatewayUnavailable(f"{self.base_url} answers {reply.status_code}: {reply.text[:200]}") from error
        if not isinstance(told, dict):
            raise GatewayUnavailable(f"{self.base_url} answers no JSON object: {reply.text[:200]}")
        return told


def _refusal(reply: httpx.Response) -> SurefootError:
    """Our error for an answer that is no acknowledgement."""
    try:
        told = reply.json()
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    message = f"the gateway answers {reply.status_code}: {told.get('message', reply.text[:200])}"
    status, kind = reply.status_code, told.get("error")
    if status == httpx.codes.CONFLICT:
        return RouteSuperseded(message)
    if kind == "ArtifactTampered":
        return ArtifactTampered(message)
    if kind == "RegistryUnavailable":
        return VersionUnavailable(message)  # nothing changed, and later it may work
    return Rejected(message) if httpx.codes.is_client_error(status) else OutcomeUnknown(message)


def _split(told: dict[str, object]) -> Split:
    """The split that a gateway tells, among what else it tells of the route."""
    return decode_traffic_split(
        {key: told[key] for key in (*TRAFFIC_SPLIT_KEYS, *TRAFFIC_SPLIT_OPTIONS) if key in told}
    )
