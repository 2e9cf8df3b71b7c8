"""What stands on the board, and in the route file, for one model: its route and what goes with it.

`route` is as in `surefoot.gateway.route`; `warm` are versions that stay loaded; `unit` and `kept` are what the policy
said when the rollout began; `cut` is why the candidate gets nothing more under this route; `alone` is why versions are
asked one request at a time, as a worker has found by asking a caller's row again. That is not written to the file: a
gateway that is started again proves each version anew.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from surefoot.core.model import Split, Version
from surefoot.gateway import route
from surefoot.gateway.arms import key_of, needed
from surefoot.gateway.board import Board
from surefoot.gateway.route import ALONE

KILLED = ""
"""Key of the kill switch in the document of routes; no model has this name."""


def cut_off(entry: Mapping[str, object], reason: str) -> dict[str, object]:
    """The entry of a model whose candidate gets nothing more under this route, and stays warm."""
    without = replace(route.decode(entry["route"]), weight=0.0, mirror=0.0)
    kept = warm_after(entry, without)
    return {"route": route.encode(without), "warm": kept, "cut": reason, **rules_in(entry), ALONE: rulings(entry)}


def rulings(entry: Mapping[str, object]) -> dict[str, str]:
    """Why versions are asked one request at a time, by digest, as some worker has found."""
    found = entry.get(ALONE)
    return {str(digest): str(why) for digest, why in found.items()} if isinstance(found, Mapping) else {}


def rules_in(entry: Mapping[str, object]) -> dict[str, object]:
    """What of an entry stays for as long as its rollout."""
    return {key: entry[key] for key in ("unit", "kept") if key in entry}


def warm_after(entry: Mapping[str, object] | None, split: Split) -> list[dict[str, object]]:
    """Versions that stay loaded beside a new route, so that going back loads nothing.

    Two at most: the champion before this one, whatever candidates have come and gone since, and what was routed last.
    """
    if entry is None or "route" not in entry:
        return []
    before = route.decode(entry["route"])
    warm = [route.version_of("warm", one) for one in route.listed(entry["warm"])]
    now = {key_of(version) for version in needed(split)}
    # The order of the list says what they are: the last champion comes first, if there has been one.
    former = before.champion if key_of(before.champion) != key_of(split.champion) else None
    champions = [former] if former is not None else warm[:1]
    others = [*needed(before)[1:], *warm[1:]]
    made: list[Version] = []
    for versions in (champions, others):
        made += [one for one in versions if key_of(one) not in now | set(map(key_of, made))][:1]
    return [route.version_json(version) for version in made]


def persist(board: Board, root: Path, name: str) -> None:
    """Write what is in force for a model by now; whoever writes last has read last, so the file cannot go back.

    Raises:
        OSError: The disk refuses; the old file stands.
    """
    with route.writing(root):
        entry = board.routes()[1].get(name)
        if entry is not None and "route" in entry and not route.saved(root, name, entry):
            route.save(root, name, entry)
