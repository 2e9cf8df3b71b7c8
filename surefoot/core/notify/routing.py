"""Choose the receivers of a notification by model, severity, topic and audience."""

from surefoot.core.notify.message import Message, Topic
from surefoot.core.policy.recovery.notify_config import ALL_MODELS, NotifyConfig


def choose_receivers(config: NotifyConfig, model: str, message: Message) -> tuple[str, ...]:
    """Names of the receivers, each once, in the order of the file.

    A text for an audience goes to the receivers of that audience and to no other: a route must not send it elsewhere.
    A role without receivers of its own is called through the routes.
    """
    if message.topic is Topic.DRAFT:
        return tuple(dict.fromkeys(config.people.get(message.whom, ())))
    if message.whom and message.whom in config.people:
        return tuple(dict.fromkeys(config.people[message.whom]))
    found: dict[str, None] = {}
    for route in config.routes:
        ours = model in route.models or ALL_MODELS in route.models
        if ours and message.severity in route.severities and (route.topics is None or message.topic in route.topics):
            found |= dict.fromkeys(route.to)
    return tuple(found)
