"""Read journal, registry, gateway and policies at each controller tick; reread only what has changed."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from surefoot import wiring
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.config.policy_folder import policy_files_by_model
from surefoot.adapters.mlflow.registry import MlflowRegistry, RegistryFingerprint
from surefoot.core.domain import RegistryView, Split, Version
from surefoot.core.errors import NotFound, PolicyInvalid, SurefootError
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.policy.policy_types import Policy
from surefoot.core.ports import Traffic
from surefoot.rollout import Ports
from surefoot.settings import Settings

_log = logging.getLogger(__name__)
_REGISTRY_CACHE_S = 5.0
"""How long MLflow may take to answer a tick [s]: the next one asks again."""
_REREAD_INTERVAL_S = 600.0
"""How long what the registry says of a model is taken as read while its fingerprint stays the same [s]."""

_MANY_MODELS = 10
"""Changed models from which on they are read together [count]."""

JournalHead = tuple[int, str]
"""Sequence and hash of the last entry of a journal."""


@dataclass(frozen=True, slots=True)
class CachedPorts(Ports):
    """Ports with the state of each model's journal as it was at the beginning of the tick."""

    ledgers: Mapping[str, Ledger] = field(default_factory=dict)

    def ledger(self, model: str) -> Ledger:
        """The model's state at the beginning of this tick."""
        return self.ledgers.get(model) or Ledger(model)


@dataclass
class TickState:
    """Everything that a tick reads, of one installation.

    Attributes:
        config: Where everything is.
        heads: The last entry of each journal, at this tick.
        troubles: What registry and gateway did not answer at the last look.
        marks: What registry and gateway say of each model, as values that are equal as long as nothing has changed.
    """

    config: Settings
    heads: dict[str, JournalHead] = field(default_factory=dict)
    marks: dict[str, tuple[object, ...]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    _ledgers: dict[str, tuple[JournalHead, Ledger]] = field(default_factory=dict)
    _policies: dict[str, tuple[object, Policy | None]] = field(default_factory=dict)
    _views: dict[str, tuple[RegistryFingerprint, float, RegistryView]] = field(default_factory=dict)
    _splits: dict[str, tuple[str, Split | None]] = field(default_factory=dict)

    @contextmanager
    def open_ports(self) -> Iterator[CachedPorts]:
        """Read the journal's news, and open ports for one tick.

        Raises:
            SurefootError: The journal cannot be read.
        """
        with (
            wiring.open_ports(self.config, "controller", _REGISTRY_CACHE_S) as ports,
            wiring.open_journal(self.config) as journal,
        ):
            self.heads = journal.heads()
            for model, head in self.heads.items():
                self._ledgers[model] = head, self._fold(ports, model, head)
            known = {model: self._ledgers[model][1] for model in self.heads}
            yield CachedPorts(
                ports.journal, ports.registry, ports.traffic, ports.evidence_source, ports.clock, ports.actor,
                set_standby=ports.set_standby, run_fallback_check=ports.run_fallback_check,
                set_fallback=ports.set_fallback, other_engine=ports.other_engine, wanted_engine=ports.wanted_engine,
                ledgers=known,
            )  # fmt: skip

    def _fold(self, ports: Ports, model: str, head: JournalHead) -> Ledger:
        """The ledger of a model; only new entries are read, unless the journal is not the one that was known."""
        (seq, digest), ledger = self._ledgers.get(model, ((0, ""), Ledger(model)))
        if (seq, digest) == head:
            return ledger
        fresh = ports.journal.read(model, after=seq) if 0 < seq < head[0] else ()
        if fresh and fresh[0].previous == digest:
            return fold_entries(model, fresh, ledger)
        return fold_entries(model, ports.journal.read(model))

    def policies(self) -> dict[str, Policy]:
        """Every policy that can be read; a file is read again when it has changed."""
        named = policy_files_by_model(self.config.configs)
        files = {model: found[0] for model, found in named.items() if len(found) == 1}
        self._policies = {model: self._policy(model, path) for model, path in files.items()}
        return {model: policy for model, (_, policy) in self._policies.items() if policy is not None}

    def known_versions(self) -> dict[str, tuple[str, ...]]:
        """Every managed model and its versions, the newest first, as far as the registry has told of them."""
        return {model: self._versions(model) for model in sorted(self.policies())}

    def _versions(self, model: str) -> tuple[str, ...]:
        numbers = self._views[model][2].stages if model in self._views else ()
        return tuple(sorted(numbers, key=int, reverse=True))

    def _policy(self, model: str, path: Path) -> tuple[object, Policy | None]:
        mark = _file_mark(path)
        known = self._policies.get(model)
        if known is not None and known[0] == mark:
            return known
        try:
            return mark, read_policy(path)[1]
        except (PolicyInvalid, NotFound):  # `lint` and `status` name it
            return mark, None

    def read_registry_and_gateway(
        self, ports: CachedPorts, models: set[str], policies: Mapping[str, Policy]
    ) -> CachedPorts:
        """The same ports with a registry and a gateway that answer from one look at each; one that is down says so."""
        registry = wiring.make_registry(self.config, _REGISTRY_CACHE_S)
        found: Mapping[str, RegistryFingerprint] = {}
        states: Mapping[str, str] = {}
        registry_trouble = traffic_trouble = None
        try:
            found = registry.fingerprints(models)
        except SurefootError as error:
            registry_trouble = error
        try:
            states = ports.traffic.served_states()  # type: ignore[attr-defined]
        except SurefootError as error:
            traffic_trouble = error
        self._read_many_views(registry, found)
        troubles = [str(error) for error in (registry_trouble, traffic_trouble) if error]
        if troubles != self.troubles:
            _log.warning("%s", "; ".join(troubles) or "registry and gateway answer again")
        self.troubles = troubles
        self.marks = {
            model: (
                found.get(model),
                states.get(model) or _engine_state(ports, ports.ledgers.get(model)),
                self._policies.get(model, (None,))[0],
                self._suite(policies, model),
                *map(str, self.troubles),
            )
            for model in models
        }
        return replace(
            ports,
            registry=_KnownRegistry(registry, found, self._views, registry_trouble),
            traffic=_KnownTraffic(ports.traffic, states, self._splits, traffic_trouble),
        )

    def _read_many_views(self, registry: MlflowRegistry, found: Mapping[str, RegistryFingerprint]) -> None:
        """Read what is new of many models in a few calls; a few models, and what fails here, are read one by one."""
        changed = [model for model, mark in found.items() if model not in self._views or self._views[model][0] != mark]
        if len(changed) < _MANY_MODELS:
            return
        with suppress(SurefootError):
            now = time.monotonic()
            self._views |= {model: (found[model], now, view) for model, view in registry.views(changed).items()}

    def _suite(self, policies: Mapping[str, Policy], model: str) -> object:
        policy = policies.get(model)
        return _file_mark(self.config.project / "expectations" / f"{policy.suite}.json") if policy else None


def _engine_state(ports: CachedPorts, ledger: Ledger | None) -> str | None:
    """What an engine that is neither the gateway nor the registry says of a model, as a text; None of those two."""
    if ledger is None or ledger.engine.abilities.logs_requests or ledger.engine.abilities.rollback_needs_registry:
        return None
    try:
        return repr(ports.engine(ledger).live(ledger.model))
    except SurefootError as error:
        return str(error)


def _file_mark(path: Path) -> object:
    """What tells whether a file has changed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class _KnownRegistry:
    """A registry whose fingerprints were read; a view is read again when its fingerprint has changed."""

    registry: MlflowRegistry
    found: Mapping[str, RegistryFingerprint]
    views: dict[str, tuple[RegistryFingerprint, float, RegistryView]]
    trouble: SurefootError | None

    def view(self, model: str) -> RegistryView:
        """Everything that the registry says of a model."""
        if self.trouble:
            raise self.trouble
        if (mark := self.found.get(model)) is None:
            return RegistryView(exists=False)
        known = self.views.get(model)
        if known is None or known[0] != mark or time.monotonic() - known[1] > _REREAD_INTERVAL_S:
            known = self.views[model] = mark, time.monotonic(), self.registry.view(model)
        return known[2]

    def alias(self, model: str, alias: str) -> str | None:
        """Version number that an alias points to."""
        if self.trouble:
            raise self.trouble
        if (mark := self.found.get(model)) is None:
            raise NotFound(f"no registered model {model}")
        return mark.aliases.get(alias)

    def resolve(self, model: str, number: str) -> Version:
        """Look a version up."""
        return self.registry.resolve(model, number)

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        """Point an alias to a version."""
        self.registry.set_alias(model, alias, number)


@dataclass(frozen=True, slots=True)
class _KnownTraffic:
    """An engine whose states were read; a split is read again when its state has changed."""

    traffic: Traffic
    states: Mapping[str, str]
    splits: dict[str, tuple[str, Split | None]]
    trouble: SurefootError | None

    def live(self, model: str) -> Split | None:
        """The split that is being served."""
        if self.trouble:
            raise self.trouble
        if (state := self.states.get(model)) is None:
            return self.traffic.live(model)
        known = self.splits.get(model)
        if known is None or known[0] != state:
            known = self.splits[model] = state, self.traffic.live(model)
        return known[1]

    def settled(self, model: str, split: Split) -> bool:
        """Whether every part of the engine serves exactly this split."""
        return self.traffic.settled(model, split)

    def shift(self, model: str, split: Split) -> None:
        """Serve this split."""
        self.traffic.shift(model, split)
