"""Define the settings in `configs/notify.yaml`: receivers of messages, routes to them, and a heartbeat address."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from surefoot.core.notify.message import Severity, Topic
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Duration, Name, Names, OptionalKey, Text, Texts, optional_duration
from surefoot.core.policy.violations import Violation, describe_type, rule_error

ALL_MODELS = "all"
"""Stands for every model in a route."""
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _listed(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _routes(value: object) -> object:
    if not isinstance(value, list):
        raise rule_error(f"expected a list of routes, found {describe_type(value)}")
    return tuple(value)


class SecretAddress(PolicyModel):
    """An address that may hold a secret, which is read where the message leaves and is never written down."""

    url: OptionalKey[Text] = Field(
        None, description="Address; `${NAME}` in it stands for the environment variable NAME, which holds the secret."
    )
    url_file: OptionalKey[Text] = Field(
        None, description="File that holds the address, such as a mounted secret; relative to the project."
    )

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that the address needs."""
        return tuple(_PLACEHOLDER.findall(self.url or ""))

    def broken_rules(self) -> Iterator[Violation]:
        """One of both keys is there, and variables have names."""
        if (self.url is None) == (self.url_file is None):
            yield Violation((), "needs one of url and url_file")
        for found in _PLACEHOLDER.finditer(self.url or ""):
            if not found.group().endswith("}") or not _VARIABLE.fullmatch(found[1]):
                yield Violation(("url",), f"'{found.group():.40}' names no environment variable: write ${{NAME}}")


class ReceiverKind(StrEnum):
    """Who reads the address of a receiver."""

    APPRISE = "apprise"
    PAGERDUTY = "pagerduty"


class Receiver(SecretAddress):
    """A service through which people are told."""

    kind: Annotated[ReceiverKind, Field(strict=False)] = Field(
        ReceiverKind.APPRISE,
        description="`apprise`: the address is one of Apprise; `pagerduty`: pagerduty://${KEY}, one alert an incident.",
    )


class Heartbeat(SecretAddress):
    """The address that each tick of the controller calls, so that a dead controller is noticed from elsewhere."""

    every: OptionalKey[Duration] = Field(
        None, description="Shortest time between two calls; without it each tick calls."
    )


class Route(PolicyModel):
    """Which messages go to which receivers."""

    models: Texts = Field((ALL_MODELS,), description="Registered models; `all` for every model.")
    severities: Annotated[
        tuple[Annotated[Severity, Field(strict=False)], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = Field(description="How soon a person has to read the message.")
    topics: OptionalKey[
        Annotated[tuple[Annotated[Topic, Field(strict=False)], ...], BeforeValidator(_listed), Field(min_length=1)]
    ] = Field(None, description="What the message is about; all topics without it.")
    to: Names = Field(description="Names of receivers.")


class NotifyConfig(PolicyModel):
    """Who is told what, through which service."""

    receivers: dict[Name, Receiver] = Field(description="Services by a name of your choice.")
    routes: Annotated[tuple[Route, ...], BeforeValidator(_routes)] = Field(
        (), description="Each message goes to the receivers of every route that takes it, once to each."
    )
    people: dict[Name, Names] = Field(
        default_factory=dict,
        description="Receivers by audience of the playbook (users, support, management) or by role.",
    )
    heartbeat: OptionalKey[Heartbeat] = Field(None, description="What each tick of the controller calls.")
    expires: Duration = optional_duration("1d", "Age at which a message that was not delivered is given up.")

    def broken_rules(self) -> Iterator[Violation]:
        """Everything that is named is defined."""
        known = ", ".join(self.receivers) or "none"
        named: list[tuple[tuple[str | int, ...], str]] = [
            *((("routes", place, "to"), name) for place, one in enumerate(self.routes) for name in one.to),
            *((("people", who), name) for who, names in self.people.items() for name in names),
        ]
        for path, name in named:
            if name not in self.receivers:
                yield Violation(path, f"names the receiver '{name}', which is not in receivers: {known}")
        for place, one in enumerate(self.routes):
            if not one.to:
                yield Violation(("routes", place, "to"), "names no receiver")
        if self.expires <= 0.0:
            yield Violation(("expires",), "must be above 0s")
