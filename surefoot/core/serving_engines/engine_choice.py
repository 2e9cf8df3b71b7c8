"""Define which serving engine a model uses, and the journal event of this choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from surefoot.core.serving_engines.engine_abilities import ENGINES, KUBERNETES_KINDS, EngineAbilities, EngineName


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine that serves a model, and where it is.

    Attributes:
        name: Which one.
        settings: What reaches it, such as addresses, as JSON values; empty where the installation's settings tell.
    """

    name: EngineName = EngineName.GATEWAY
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def abilities(self) -> EngineAbilities:
        """What the engine can do."""
        if self.name is EngineName.KUBERNETES:
            return KUBERNETES_KINDS.get(str(self.settings.get("kind")), ENGINES[self.name])
        return ENGINES[self.name]


@dataclass(frozen=True, slots=True)
class EngineChosen:
    """A model is served by another engine from now on; the split is put in force there next.

    Journalled with what reaches the engine, because a rollback reads no policy.

    Attributes:
        engine: The engine's word in a policy.
        settings: What reaches it, as JSON values.
        before: The engine until now.
    """

    engine: EngineName
    settings: Mapping[str, object]
    before: EngineName

    @property
    def choice(self) -> EngineChoice:
        """The engine that serves from now on."""
        return EngineChoice(self.engine, self.settings)
