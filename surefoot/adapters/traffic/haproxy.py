"""Control a model's traffic by the weights of servers in HAProxy.

HAProxy keeps no generation of its own, so the split that was asked for stands in a map of it, from which an older
change is refused. Weights are read back. After a reload the map is as empty as its file: then nothing is live, and
the next run of `reconcile` puts the journal's split in force again.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surefoot.adapters.traffic.haproxy_runtime import HaproxyRuntime, ServerState
from surefoot.adapters.traffic.host_lock import hold_host_lock
from surefoot.adapters.traffic.split_text import decode_split_text, encode_split_text
from surefoot.core.domain import Split, Version
from surefoot.core.errors import GatewayUnavailable, OutcomeUnknown, Rejected, RouteSuperseded, VersionUnavailable
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineName, whole_number_weights

SPLIT_MAP_FILE = "surefoot.map"
"""Name of the file of the map, in whatever folder; the configuration must use the map somewhere."""


class HaproxyTraffic:
    """The `Traffic` port in front of one or more HAProxy processes with the same backend.

    Attributes:
        addresses: Runtime API of each process.
    """

    def __init__(self, addresses: Sequence[str], backend: str, server: str, locks: Path) -> None:
        """Remember where; nothing is contacted yet.

        Args:
            addresses: unix:/path/of/socket or tcp://host:port, one each process.
            backend: Backend whose servers serve the versions.
            server: Name of a version's server, with {version} in it.
            locks: Folder of the lock that orders the writers of this host.
        """
        self.addresses = tuple(addresses)
        self._processes = [HaproxyRuntime(address) for address in addresses]
        self._backend, self._server, self._locks = backend, server, locks

    def live(self, model: str) -> Split | None:
        """The split that every process serves; None where one has none, as after a reload.

        Where weights are not those of the split, or processes differ, what is served instead.

        Raises:
            GatewayUnavailable: A process does not answer.
            Rejected: A process has no such backend or map.
        """
        found = [self._live(process, model) for process in self._processes]
        newest = max((one.generation for one in found if one is not None), default=0)
        for one in found:
            if one is None or one.generation < newest or not one.champion.digest:
                return one
        return found[0]

    def settled(self, model: str, split: Split) -> bool:
        """Whether every process serves exactly this split; raises what `live` raises."""
        return all(self._live(process, model) == split for process in self._processes)

    def shift(self, model: str, split: Split) -> None:
        """Serve this split; return when the weights of every process are read back.

        Raises:
            RouteSuperseded: A process has a split of a higher generation, or another one of the same.
            GatewayUnavailable: A process does not answer; nothing changed there.
            VersionUnavailable: The server of a version that is to answer is down; nothing changed.
            OutcomeUnknown: Some may have changed; look with `live`.
            Rejected: HAProxy cannot serve such a split, or has no server of a version.
        """
        wanted = self._weights(split)
        with hold_host_lock(self._locks / f"haproxy-{self._backend}.lock"):
            for process in self._processes:
                self._check(process, model, split, wanted)
            changed = False
            try:
                for process in self._processes:
                    self._apply(process, model, split, wanted)
                    changed = True
                    if (live := self._live(process, model)) != split:
                        said = "nothing" if live is None else f"generation {live.generation} with other weights"
                        raise OutcomeUnknown(f"HAProxy at {process.address} serves {said} after the change")
            except GatewayUnavailable as error:
                # The first processes serve the new split already: that is no "nothing changed".
                raise (OutcomeUnknown(str(error)) if changed else error) from error

    def _weights(self, split: Split) -> dict[str, int]:
        """Weight of each version's server; every other server gets nothing.

        Raises:
            Rejected: HAProxy cannot serve such a split.
        """
        if split.mirror or split.units:
            raise Rejected("HAProxy mirrors no requests, and assigns no unit by its name")
        largest = ENGINES[EngineName.HAPROXY].largest_weight
        weights = whole_number_weights(split.weight, largest)
        if weights is None:
            raise Rejected(
                f"HAProxy has whole numbers up to {largest} as weights, and none of them give {split.weight:g} percent"
            )
        made = {self._name(split.champion): weights[0]}
        if split.candidate is not None and split.candidate.number != split.champion.number:
            made[self._name(split.candidate)] = weights[1]
        return made

    def _name(self, version: Version) -> str:
        return self._server.replace("{version}", version.number)

    def _check(self, process: HaproxyRuntime, model: str, split: Split, wanted: dict[str, int]) -> None:
        """Refuse a split that is superseded, or that a process cannot serve; nothing changes."""
        before = self._known(process, model)
        if before is not None and before != split and before.generation >= split.generation:
            raise RouteSuperseded(
                f"HAProxy at {process.address} serves generation {before.generation}, which is not older than"
                f" {split.generation}"
            )
        servers = process.servers(self._backend)
        for name, weight in wanted.items():
            if weight and name not in servers:
                raise Rejected(f"backend {self._backend} of HAProxy at {process.address} has no server {name}")
            if weight and not servers[name].usable:
                raise VersionUnavailable(
                    f"server {name} of backend {self._backend} at {process.address} is down: nothing was changed"
                )

    def _apply(self, process: HaproxyRuntime, model: str, split: Split, wanted: dict[str, int]) -> None:
        """Note the split, then set weights: those that grow first, so that some server always takes requests."""
        map_, servers = process.find_map(SPLIT_MAP_FILE), process.servers(self._backend)
        verb = "add" if process.map_entry(map_, model) is None else "set"
        changes = [
            (name, wanted.get(name, 0)) for name, state in servers.items() if state.weight != wanted.get(name, 0)
        ]
        changes.sort(key=lambda change: change[1] <= servers[change[0]].weight)
        process.command(
            f"{verb} map {map_} {model} {encode_split_text(split)}",
            *(f"set server {self._backend}/{name} weight {weight}" for name, weight in changes),
        )

    def _live(self, process: HaproxyRuntime, model: str) -> Split | None:
        """What one process serves."""
        split = self._known(process, model)
        if split is None:
            return None
        servers = process.servers(self._backend)
        if _has_weights(servers, self._weights(split)):
            return split
        return _read_weights(split, servers, self._server)

    def _known(self, process: HaproxyRuntime, model: str) -> Split | None:
        return decode_split_text(process.map_entry(process.find_map(SPLIT_MAP_FILE), model))


def _has_weights(servers: dict[str, ServerState], wanted: dict[str, int]) -> bool:
    """Whether every server has the weight that it should have; one that is gone and should have none is no matter."""
    told = {name: state.weight for name, state in servers.items()}
    return all(told.get(name, 0) == wanted.get(name, 0) for name in {*told, *wanted})


def _read_weights(split: Split, servers: dict[str, ServerState], template: str) -> Split:
    """The split that weights of another hand amount to; its versions have no digests."""
    before, after = template.split("{version}")
    whole = sum(state.weight for state in servers.values())
    shares = sorted(((state.weight, name) for name, state in servers.items() if state.weight), reverse=True)
    numbers = [name.removeprefix(before).removesuffix(after) for _, name in shares]
    champion = Version(numbers[0] if numbers else "", "")
    candidate = Version(", ".join(numbers[1:]), "") if numbers[1:] else None
    weight = 100.0 * (1.0 - shares[0][0] / whole) if candidate is not None else 0.0
    return replace(split, champion=champion, candidate=candidate, weight=weight)
