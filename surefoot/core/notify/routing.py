"""Choose the receivers of a message by model, severity, topic and audience."""

from collections.abc import Iterator

from surefoot.core.notify.message import Message, Severity, Topic
from surefoot.core.policy.recovery.notify_config import ALL_MODELS, NotifyConfig, ReceiverKind


def choose_receivers(config: NotifyConfig, model: str, message: Message) -> tuple[str, ...]:
    """Names of the receivers, each once, in the order of the file.

    A text for an audience goes to the receivers of that audience and to no other: a route must not send it elsewhere.
    A role without receivers of its own is called through the routes.
    """
    if message.topic is Topic.DRAFT:
        return tuple(dict.fromkeys(config.people.get(message.whom, ())))
    if message.whom and message.whom in config.people:
        return tuple(dict.fromkeys(config.people[message.whom]))
    found = dict.fromkeys(_routed(config, model, message.severity, message.topic))
    if message.topic is Topic.CLOSED:  # an alert that was opened has to be resolved, whatever the routes say
        paged = _routed(config, model, Severity.PAGE, Topic.INCIDENT)
        found |= dict.fromkeys(one for one in paged if config.receivers[one].kind is ReceiverKind.PAGERDUTY)
    return tuple(found)


def _routed(config: NotifyConfig, model: str, severity: Severity, topic: Topic) -> Iterator[str]:
    """Receivers of every route that takes such a message."""
    for route in config.routes:
        ours = model in route.models or ALL_MODELS in route.models
        if ours and severity in route.severities and (route.topics is None or topic in route.topics):
            yield from route.to
