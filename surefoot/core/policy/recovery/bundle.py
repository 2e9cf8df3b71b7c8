"""Define the policy section `bundle`: files that are deployed with a version."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Name, Text
from surefoot.core.policy.violations import Violation, describe_type, rule_error


class BundledConfig(PolicyModel):
    """A configuration file that belongs to a version, such as thresholds or the name of a feature view."""

    name: Name = Field(description="Name of the file in journal, commands and messages.")
    source: Text = Field(alias="from", description="File in the version's artifact, such as config/thresholds.json.")
    file: Text = Field(alias="to", description="File that other programs read; a relative one begins in the project.")

    def broken_rules(self) -> Iterator[Violation]:
        """The source is inside the artifact."""
        if self.source.startswith(("/", "~")) or ".." in self.source.split("/"):
            yield Violation(("from",), "must be a file inside the version's artifact: a relative path without '..'")


def _files(value: object) -> object:
    if not isinstance(value, list):
        raise rule_error(f"expected a list of files, found {describe_type(value)}")
    return tuple(value)


def _named_once(files: tuple[BundledConfig, ...]) -> tuple[BundledConfig, ...]:
    for what, words in (("name", "two files are named"), ("file", "two files are written to")):
        values = [getattr(one, what) for one in files]
        for value in values:
            if values.count(value) > 1:
                raise rule_error(f"{words} '{value}': each is used once")
    return files


BundleSection = Annotated[tuple[BundledConfig, ...], BeforeValidator(_files), AfterValidator(_named_once)]
"""The configuration files of a policy."""
