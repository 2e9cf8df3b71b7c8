"""What stands on the board, and in the route file, for one model: its route and what goes with it.

`route` is as in `route_codec`; `warm` are versions that stay loaded; `unit` and `kept` are what the policy
said when the rollout began; `cut` is why the candidate gets nothing more under this route; `alone` is why versions are
asked one request at a time, as a worker has found by asking a caller's row again. That is not written to the file: a
gateway that is started again proves each version anew.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from surefoot.core.domain import Split, Version
from surefoot.gateway.control import route_codec
from surefoot.gateway.control.route_codec import UNBATCHABLE
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.inference.router import serving_versions, version_key

KILL_SWITCH = ""
"""Key of the kill switch in the document of routes; no model has this name."""


def without_candidate(entry: Mapping[str, object], reason: str) -> dict[str, object]:
    """The entry of a model whose candidate gets nothing more under this route, and stays warm."""
    without = replace(route_codec.decode_split(entry["route"]), weight=0.0, mirror=0.0)
    kept = warm_versions(entry, without)
    return {
        "route": route_codec.encode_split(without),
        "warm": kept,
        "cut": reason,
        **request_rules(entry),
        UNBATCHABLE: unbatchable_versions(entry),
    }


def unbatchable_versions(entry: Mapping[str, object]) -> dict[str, str]:
    """Why versions are asked one request at a time, by digest, as some worker has found."""
    found = entry.get(UNBATCHABLE)
    return {str(digest): str(why) for digest, why in found.items()} if isinstance(found, Mapping) else {}


def request_rules(entry: Mapping[str, object]) -> dict[str, object]:
    """What of an entry stays for as long as its rollout."""
    return {key: entry[key] for key in ("unit", "kept") if key in entry}


def warm_versions(entry: Mapping[str, object] | None, split: Split) -> list[dict[str, object]]:
    """Versions that stay loaded beside a new route, so that going back loads nothing.

    Two at most: the champion before this one, whatever candidates have come and gone since, and what was routed last.
    """
    if entry is None or "route" not in entry:
        return []
    before = route_codec.decode_split(entry["route"])
    warm = [route_codec.decode_version("warm", one) for one in route_codec.as_list(entry["warm"])]
    now = {version_key(version) for version in serving_versions(split)}
    # The order of the list says what they are: the last champion comes first, if there has been one.
    former = before.champion if version_key(before.champion) != version_key(split.champion) else None
    champions = [former] if former is not None else warm[:1]
    others = [*serving_versions(before)[1:], *warm[1:]]
    made: list[Version] = []
    for versions in (champions, others):
        made += [one for one in versions if version_key(one) not in now | set(map(version_key, made))][:1]
    return [route_codec.encode_version(version) for version in made]


def persist(route_table: SharedRouteTable, root: Path, name: str) -> None:
    """Write what is in force for a model by now; whoever writes last has read last, so the file cannot go back.

    Raises:
        OSError: The disk refuses; the old file stands.
    """
    with route_codec.write_lock(root):
        entry = route_table.routes()[1].get(name)
        if entry is not None and "route" in entry and not route_codec.is_saved(root, name, entry):
            route_codec.save_route(root, name, entry)
