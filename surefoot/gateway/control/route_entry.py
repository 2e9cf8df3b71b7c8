"""Build a model's entry in the route table (route, standby, fallback, warm versions), and write it to disk.

`route` is as in `_request_policy_fields`; `warm` are versions that stay loaded; `unit` and `kept` are what the policy
said when the rollout began; `standby` is the version that answers requests that the champion fails; `fallback` is the
version that answers what no other one can; `going_back` is true where the candidate is what traffic goes back to; `cut`
is why the candidate gets nothing more under this route; `alone` is why versions are asked one request at a time, as a
worker has found by asking a caller's row again. That is not written to the file: a gateway that is started again probes
each version anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from surefoot.core.domain import Split, Version
from surefoot.core.traffic_split_json import (
    decode_traffic_split,
    decode_version,
    encode_traffic_split,
    encode_version,
)
from surefoot.gateway.control.route_errors import StaleRoute
from surefoot.gateway.control.route_files import hold_route_file_lock, is_route_saved, save_route
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.inference.routes.entry_fields import (
    FALLBACK_KEY,
    ROLLING_BACK_KEY,
    STANDBY_KEY,
    UNBATCHABLE_KEY,
    read_standby,
    read_unbatchable_versions,
)
from surefoot.gateway.inference.routes.request_policy import list_or_empty
from surefoot.gateway.inference.routes.route_snapshot import ConfiguredRoute
from surefoot.gateway.inference.routes.route_with_pools import read_request_policy
from surefoot.gateway.inference.routes.version_key import serving_versions, version_key
from surefoot.gateway.inference.settings import GatewaySettings


def entry_without_candidate(entry: Mapping[str, object], reason: str) -> dict[str, object]:
    """Give the entry of a model whose candidate is cut: it gets nothing more under this route, and stays warm."""
    without = replace(decode_traffic_split(entry["route"]), weight=0.0, mirror=0.0, units=())
    warm = list_warm_versions(entry, without)
    return {
        "route": encode_traffic_split(without),
        "warm": warm,
        "cut": reason,
        **_request_policy_fields(entry),
        **standby_field(entry, without),
        **fallback_field(entry),
        UNBATCHABLE_KEY: read_unbatchable_versions(entry),
    }


def has_candidate_traffic(entry: Mapping[str, object]) -> bool:
    """Whether a candidate gets requests, to answer callers or mirrored."""
    if "route" not in entry:
        return False
    split = decode_traffic_split(entry["route"])
    return split.weight > 0.0 or split.mirror > 0.0


def _request_policy_fields(entry: Mapping[str, object]) -> dict[str, object]:
    """Give the part of an entry that stays for as long as its rollout."""
    return {key: entry[key] for key in ("unit", "kept") if key in entry}


def policy_of_rollout(
    entry: Mapping[str, object] | None, split: Split, settings: GatewaySettings, model: str
) -> dict[str, object]:
    """Give the request settings of the policy as they were when the current rollout began.

    A live drill begins no rollout: what is logged, and which column is the unit, stays as it was there and back.
    """
    if entry is not None and "route" in entry:
        before = decode_traffic_split(entry["route"])
        same = bool(split.rollout) and before.rollout == split.rollout
        drill = (split.is_live_drill or before.is_live_drill) and before.champion == split.champion
        if same or drill:
            return _request_policy_fields(entry)
    return read_request_policy(settings, model).encode()


def list_warm_versions(entry: Mapping[str, object] | None, split: Split) -> list[dict[str, object]]:
    """List versions that stay loaded under a new route, so that going back loads nothing.

    Two at most: the champion before this one, whatever candidates have come and gone since, and what was routed last.
    """
    if entry is None or "route" not in entry:
        return []
    before = decode_traffic_split(entry["route"])
    warm = [decode_version("warm", one) for one in list_or_empty(entry["warm"])]
    now = {version_key(version) for version in serving_versions(split)}
    # The order of the list says what they are: the last champion comes first, if there has been one.
    former = before.champion if version_key(before.champion) != version_key(split.champion) else None
    champions = [former] if former is not None else warm[:1]
    others = [*serving_versions(before)[1:], *warm[1:]]
    made: list[Version] = []
    for versions in (champions, others):
        made += [one for one in versions if version_key(one) not in now | set(map(version_key, made))][:1]
    return [encode_version(version) for version in made]


def standby_field(entry: Mapping[str, object] | None, split: Split) -> dict[str, object]:
    """Give the part of an entry that names the standby, for a new route; it stays while the champion does."""
    if entry is None or "route" not in entry:
        return {}
    standby, before = read_standby(entry), decode_traffic_split(entry["route"])
    back = {ROLLING_BACK_KEY: True} if entry.get(ROLLING_BACK_KEY) is True and before.rollout == split.rollout else {}
    if version_key(before.champion) != version_key(split.champion):
        return {}
    named = {} if standby is None else {STANDBY_KEY: encode_version(standby)}
    return {**named, **(back if split.candidate is not None else {})}


def fallback_field(entry: Mapping[str, object] | None) -> dict[str, object]:
    """Give the part of an entry that names the version that is the fallback; it stays whatever the route is."""
    return {key: entry[key] for key in (FALLBACK_KEY,) if entry is not None and key in entry}


def entry_under_kill_switch(entry: Mapping[str, object], reason: str) -> dict[str, object]:
    """Give the entry of a model under the kill switch: all traffic to the champion, or to what it goes back to."""
    split = decode_traffic_split(entry["route"])
    if entry.get(ROLLING_BACK_KEY) is not True or split.candidate is None or not split.weight:
        return entry_without_candidate(entry, reason)
    back = replace(split, champion=split.candidate, candidate=None, weight=0.0, units=())
    return {
        "route": encode_traffic_split(back),
        "warm": list_warm_versions(entry, back),
        "cut": reason,
        **_request_policy_fields(entry),
        **fallback_field(entry),
        UNBATCHABLE_KEY: read_unbatchable_versions(entry),
    }


def publish_standby(
    route_table: SharedRouteTable, model: str, generation: int, standby: Version | None, *, going_back: bool
) -> bool:
    """Put another standby of a model in force, or none, and have every worker load it; whether that changed anything.

    Raises:
        StaleRoute: Another route than that of this generation is in force.
    """
    with route_table.lock():
        _, document = route_table.read_routes()
        entry = document.get(model)
        if entry is None or "route" not in entry:
            raise StaleRoute("no route is in force")
        if (found := decode_traffic_split(entry["route"]).generation) != generation:
            raise StaleRoute(f"generation {found} is in force, not {generation}")
        changed = _with_standby(entry, standby, going_back=going_back)
        if changed == entry:
            return False
        route_table.publish({**document, model: changed})
    route_table.request_loading()
    return True


def _with_standby(entry: Mapping[str, object], standby: Version | None, *, going_back: bool) -> dict[str, object]:
    """Give the entry of a model with another standby, or none; only it and the candidate stay loaded."""
    split = decode_traffic_split(entry["route"])
    kept = {key: value for key, value in entry.items() if key not in {STANDBY_KEY, ROLLING_BACK_KEY}}
    serving = set(map(version_key, serving_versions(split)))
    wanted = [version for version in (standby, split.candidate) if version is not None]
    warm = {version_key(version): version for version in wanted if version_key(version) not in serving}
    named: dict[str, object] = {} if standby is None else {STANDBY_KEY: encode_version(standby)}
    named |= {ROLLING_BACK_KEY: True} if going_back and split.candidate is not None else {}
    return {**kept, "warm": [encode_version(version) for version in warm.values()], **named}


def standby_state(route: ConfiguredRoute | None, is_loaded: Callable[[Version], bool]) -> dict[str, object] | None:
    """Say which version answers requests that the champion fails, and whether it is loaded; None without one."""
    standby = None if route is None else route.standby
    return None if standby is None else {"version": standby.number, "loaded": is_loaded(standby)}


def persist_route(route_table: SharedRouteTable, root: Path, name: str) -> None:
    """Write the route of a model that is in force by now; the last writer has read last, so the file cannot go back.

    Raises:
        OSError: The disk refuses; the old file stands.
    """
    with hold_route_file_lock(root):
        entry = route_table.read_routes()[1].get(name)
        if entry is not None and "route" in entry and not is_route_saved(root, name, entry):
            save_route(root, name, entry)
