"""Tell the gateway which versions to keep ready for failover."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from surefoot.controller.tick_state import CachedPorts, JournalHead, TickState
from surefoot.core.domain import Version
from surefoot.core.errors import SurefootError
from surefoot.core.policy.policy_types import Policy
from surefoot.core.served_versions.fallback_version import choose_fallback_version
from surefoot.core.served_versions.service_summary import last_served_at
from surefoot.rollout import choose_standby, is_rollback_target


@dataclass
class StandbySender:
    """Sends standby and fallback versions to the gateway, and remembers the last ones sent for each model."""

    _named: dict[str, object] = field(default_factory=dict)
    _fallbacks: dict[str, object] = field(default_factory=dict)
    _served: dict[tuple[str, str], tuple[JournalHead, float | None]] = field(default_factory=dict)

    def send_all(self, ports: CachedPorts, snapshot: TickState) -> None:
        """Name the standby of each model whose split, standby or gateway state has changed since the last tick."""
        for model, ledger in ports.ledgers.items():
            if ledger.split is None or ledger.intent or not ledger.engine.abilities.standby:
                continue
            served = partial(self._last_served, ports, snapshot.heads, model)
            try:
                standby = choose_standby(ledger, ledger.split.champion, ports.clock.now(), served)
                back = is_rollback_target(ledger, ledger.split)
                mark = (ledger.split.generation, standby, back, snapshot.marks.get(model, (None, None))[1])
                if self._named.get(model) == mark:
                    continue
                ports.set_standby(model, ledger.split.generation, standby, going_back=back)
            except SurefootError:  # the next tick names it
                continue
            self._named[model] = mark

    def send_fallbacks(self, ports: CachedPorts, snapshot: TickState, policies: Mapping[str, Policy]) -> None:
        """Name the version that is the fallback of each model, or none, where it or the gateway's state has changed."""
        for model, policy in policies.items():
            ledger = ports.ledgers.get(model)
            if ledger is None or ledger.split is None or not ledger.engine.abilities.fallback:
                continue
            wanted = None if policy.fallback_reference is None else choose_fallback_version(ledger)
            mark = (wanted, snapshot.marks.get(model, (None, None))[1])
            if self._fallbacks.get(model) == mark:
                continue
            try:
                ports.set_fallback(model, wanted)
            except SurefootError:  # the next tick names it
                continue
            self._fallbacks[model] = mark

    def _last_served(
        self, ports: CachedPorts, heads: Mapping[str, JournalHead], model: str, version: Version
    ) -> float | None:
        """When a version that does not serve now last answered callers; read again when the journal has grown."""
        known = self._served.get((model, version.digest))
        if known is None or known[0] != heads[model]:
            last = last_served_at(ports.journal.read(model), version, ports.clock.now())
            known = self._served[model, version.digest] = heads[model], last
        return known[1]
