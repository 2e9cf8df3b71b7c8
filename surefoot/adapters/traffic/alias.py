"""Control a model's traffic only by its registry alias `champion`, without a router in between.

No router is in between, so all traffic moves at once. The split that was asked for stands beside the alias, in a tag of
the registered model: its generation refuses an older change, and what the alias says is held against it.
"""

from dataclasses import replace
from typing import Protocol

from surefoot.adapters.traffic.split_text import decode_split_text, encode_split_text
from surefoot.core.domain import Split, Version
from surefoot.core.errors import AliasDrift, Rejected, RouteSuperseded

_SPLIT_TAG = "surefoot.split"
"""Tag of the registered model that holds the split, as base64 of its JSON."""
_ALIAS = "champion"
_ALL = 100.0


class AliasRegistry(Protocol):
    """What this engine asks of the model registry."""

    def alias_and_tag(self, model: str, alias: str, tag: str) -> tuple[str | None, str | None]:
        """Version number that an alias points to, and value of a tag of the model, read at one moment."""
        ...

    def set_model_tag(self, model: str, tag: str, value: str) -> None:
        """Set a tag of a registered model."""
        ...

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        """Point an alias to a version."""
        ...


class AliasTraffic:
    """The `Traffic` port in front of alias `champion`."""

    def __init__(self, registry: AliasRegistry) -> None:
        """Know the registry; nothing is asked yet."""
        self._registry = registry

    def live(self, model: str) -> Split | None:
        """The split that alias champion serves; None where Surefoot has not put one in force yet.

        Where the alias says something else than the split beside it, the champion is what the alias says; its digest,
        and where the alias is removed its number too, are empty.

        Raises:
            RegistryUnavailable: MLflow does not answer.
            Rejected: MLflow does not let us look.
        """
        number, tag = self._registry.alias_and_tag(model, _ALIAS, _SPLIT_TAG)
        split = decode_split_text(tag)
        if split is None or number == _serving(split).number:
            return split
        return replace(split, champion=Version(number or "", ""), candidate=None, weight=0.0)

    def settled(self, model: str, split: Split) -> bool:
        """Whether alias champion serves exactly this split; raises what `live` raises."""
        return self.live(model) == split

    def shift(self, model: str, split: Split) -> None:
        """Point alias champion to the version of this split; return when both it and the split are read back.

        Raises:
            RouteSuperseded: A split with a higher generation, or another one of the same, is in force.
            AliasDrift: Another hand moves the alias now, or had set it before any split was in force.
            RegistryUnavailable: MLflow does not answer; nothing changed.
            OutcomeUnknown: It may have changed; look with `live`.
            Rejected: The split shares or mirrors traffic, or MLflow refuses.
        """
        if 0.0 < split.weight < _ALL or split.mirror:
            raise Rejected(f"alias champion of {model} moves all traffic at once: it cannot share or mirror it")
        number, tag = self._registry.alias_and_tag(model, _ALIAS, _SPLIT_TAG)
        before, wanted = decode_split_text(tag), _serving(split).number
        if before is None and number not in {None, wanted}:
            raise AliasDrift(
                f"alias champion of {model} points to version {number}, and version {wanted} is to be served:"
                f" 'surefoot repair {model}' sets it to {wanted}"
            )
        if before is not None and before != split and before.generation >= split.generation:
            raise RouteSuperseded(
                f"alias champion of {model} serves generation {before.generation}, which is not older than"
                f" {split.generation}"
            )
        # The generation first: a writer that is late finds it before the alias is moved.
        if before != split:
            self._registry.set_model_tag(model, _SPLIT_TAG, encode_split_text(split))
        self._registry.set_alias(model, _ALIAS, wanted)
        live = self.live(model)
        if live is not None and live.generation > split.generation:
            raise RouteSuperseded(f"generation {live.generation} of {model} came while {split.generation} was applied")


def _serving(split: Split) -> Version:
    """The version that answers everything."""
    return split.candidate if split.candidate is not None and split.weight == _ALL else split.champion
