"""Define the journal records of configuration files that are deployed (bundled) with a version."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SetConfig:
    """Effect: write the content that belongs to a version into a configuration file.

    Attributes:
        name: Name of the file in the policy.
        file: Where it is.
        content: SHA-256 of what it is to hold; empty where it is to be removed.
        expected: SHA-256 of what it must hold before the change; empty where there must be none.
    """

    name: str
    file: str
    content: str
    expected: str


@dataclass(frozen=True, slots=True)
class BundledFile:
    """One configuration file as it was resolved when a rollout opened.

    Attributes:
        name: Name of the file in the policy.
        file: Where it is.
        content: SHA-256 of the candidate's content.
        before: SHA-256 of what it held when the rollout opened; empty where there was none.
    """

    name: str
    file: str
    content: str
    before: str

    @property
    def forward_effect(self) -> SetConfig:
        """The change that comes before any request goes to the candidate."""
        return SetConfig(self.name, self.file, self.content, self.before)


def format_config_drift_name(name: str) -> str:
    """What a drift of a configuration file is called in the journal."""
    return f"configuration {name}"
