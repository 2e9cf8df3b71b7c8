"""What the model registry says of one model at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RegistryView:
    """One registered model.

    Attributes:
        exists: Whether it is there under this name.
        aliases: Version numbers by alias.
        stages: The stage of each version by its number; every version is in it.
        statuses: The status of each version by its number, for example "READY".
    """

    exists: bool
    aliases: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)

    def near_miss(self, wanted: str) -> str:
        """An alias that is spelt almost like the wanted one, as a clause; empty when there is none."""
        if wanted in self.aliases:
            return ""
        close = [name for name in self.aliases if name.lower().strip("-_") == wanted]
        if not close:
            return ""
        return f"there is an alias '{close[0]}' on version {self.aliases[close[0]]}, but the name is '{wanted}'"
