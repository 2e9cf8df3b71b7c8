"""Write rollout outcomes and model-card sections to the MLflow pages of versions, in descriptions and tags."""

import datetime as dt
import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.client import RetryingClient, model_versions_filter
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.operator_reason import clean_reason
from surefoot.core.served_versions.version_status import VersionStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

OUTCOME_LINE_PREFIX = "Surefoot outcome: "
"""How the line in a description begins; every line that begins so is Surefoot's, every other line is its owner's."""
OUTCOME, REASON, ROLLOUT, RUN = "surefoot.outcome", "surefoot.reason", "surefoot.rollout", "surefoot.run"
MAX_DESCRIPTION_LENGTH = 5000
"""What MLflow's database holds of a description [characters]."""
MAX_NEWEST_VERSIONS = 200
"""Versions that are read in one call [count]."""
_MAX_OLDER_VERSIONS = 5
"""Versions beyond those that are read one by one, latest word first [count]."""
_MAX_CLOCK_SKEW_S = 60.0
"""How far the clocks of MLflow and of the journal may differ [seconds]."""
_CARD_BEGINS, _CARD_ENDS = "<!-- surefoot: promotion -->", "<!-- surefoot: end of promotion -->"
"""Lines around the section of a model card in a description; MLflow's page does not show them."""
_MARKUP = re.compile(r"([\\`*\[\]<>])")


class VersionOutcomeWriter:
    """Tags and one line of the description of each version, written again when they are lost or edited."""

    def __init__(self, mlflow: RetryingClient) -> None:
        """Nothing is asked yet."""
        self._mlflow = mlflow

    def write_outcomes(
        self,
        model: str,
        wanted: Mapping[str, VersionStatus],
        links: Mapping[str, str],
        cards: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """Make the pages of a model's versions say where each stands; a version that was deleted is left out.

        It costs one call, one more for each of a few versions that are old, and writes only what differs.

        Args:
            model: Registered model.
            wanted: Where each version stands, by number.
            links: Address of the MLflow run of each rollout, by the rollout's id.
            cards: Section of a model card about the promotion of a version, as Markdown, by number.

        Returns:
            Versions whose page was changed [count].

        Raises:
            RegistryUnavailable: MLflow does not answer; the next call goes on from there.
            Rejected: MLflow refuses a change; all other pages are written.
        """
        changed, trouble = 0, None
        for version in self._read(model, wanted) if wanted else ():
            standing = wanted[str(version.version)]
            if version.creation_timestamp > (standing.wall + _MAX_CLOCK_SKEW_S) * 1000.0:
                continue  # the model was deleted and made again: this is another version with the same number
            try:
                card = cards.get(standing.number, "")
                changed += self._write(model, version, standing, links.get(standing.rollout, ""), card)
            except NotFound:
                continue  # deleted meanwhile
            except Rejected as error:
                trouble = error
        if trouble is not None:
            raise trouble
        return changed

    def _read(self, model: str, wanted: Mapping[str, VersionStatus]) -> "list[ModelVersion]":
        """The versions of which something is to be said, newest first."""
        named, newest = model_versions_filter(model), ["version_number DESC"]
        page = self._mlflow.call(
            lambda client: client.search_model_versions(named, max_results=MAX_NEWEST_VERSIONS, order_by=newest)
        )
        found = [version for version in page if version.name == model and str(version.version) in wanted]
        if len(page) < MAX_NEWEST_VERSIONS:
            return found
        seen = {str(version.version) for version in page if version.name == model}
        older = sorted((one for number, one in wanted.items() if number not in seen), key=lambda one: -one.wall)
        for standing in older[:_MAX_OLDER_VERSIONS]:
            version = self._one(model, standing.number)
            found += [version] if version is not None else []
        return found

    def _one(self, model: str, number: str) -> "ModelVersion | None":
        try:
            return self._mlflow.call(lambda client: client.get_model_version(model, number))
        except NotFound:
            return None

    def _write(self, model: str, version: "ModelVersion", standing: VersionStatus, link: str, card: str) -> bool:
        """Write what differs; whether anything did."""
        number, kept = standing.number, version.tags
        reason = clean_reason(standing.reason).text
        tags = {OUTCOME: standing.outcome, REASON: reason, ROLLOUT: standing.rollout, RUN: link}
        changes = {name: value for name, value in tags.items() if kept.get(name, "") != value}
        for name, value in changes.items():
            self._mlflow.call(partial(_set, model=model, number=number, name=name, value=value))
        before = version.description or ""

        def described(text: str) -> str:
            return description_with_card(description_with_outcome(text, standing, link), card)

        if described(before) == before:
            return bool(changes)
        # Read again right before: MLflow cannot change a description only if it is still as it was read.
        now = self._one(model, number)
        before = (now.description or "") if now else before
        after = described(before)
        if now and after != before:
            self._mlflow.call(lambda client: client.update_model_version(model, number, after))
        return True


def _set(client: "MlflowClient", model: str, number: str, name: str, value: str) -> None:
    """Set a tag of a version, or remove it when nothing is to be said."""
    if value:
        client.set_model_version_tag(model, number, name, value)
    else:
        client.delete_model_version_tag(model, number, name)


def description_with_outcome(description: str, standing: VersionStatus, link: str) -> str:
    """A description whose one line of Surefoot's says where the version stands; every other line stays as it is.

    Args:
        description: What the page says now.
        standing: Where the version stands.
        link: Address of the rollout's run; empty when there is none.

    Returns:
        The new description; the old one when MLflow has no room for a line.
    """
    lines = description.split("\n")
    ours = [index for index, line in enumerate(lines) if line.startswith(OUTCOME_LINE_PREFIX)]
    kept = [line for index, line in enumerate(lines) if index not in ours[1:]]
    others = [*kept] if ours else [description, "", ""] if description else [""]
    at = ours[0] if ours else len(others) - 1
    room = MAX_DESCRIPTION_LENGTH - sum(len(line) + 1 for index, line in enumerate(others) if index != at)
    line = _line(standing, link, room)
    if not line:
        return description
    others[at] = line
    return "\n".join(others)


def description_with_card(description: str, card: str) -> str:
    """A description whose block of Surefoot's is this section of a model card; every other line stays as it is.

    Args:
        description: What the page says now.
        card: The section; empty changes nothing.

    Returns:
        The new description; the old one when MLflow has no room for the section.
    """
    if not card:
        return description
    block = f"{_CARD_BEGINS}\n{card.replace(_CARD_BEGINS, '').replace(_CARD_ENDS, '')}\n{_CARD_ENDS}"
    before, begun, rest = description.partition(_CARD_BEGINS)
    _, ended, after = rest.partition(_CARD_ENDS)
    if begun and not ended:  # a person has cut the block: what is left of it is theirs now
        before, after = description.replace(_CARD_BEGINS, ""), ""
    elif not begun:
        after = ""
    gap = "\n\n" if before and not begun else ""
    made = f"{before}{gap}{block}{after}"
    return made if len(made) <= MAX_DESCRIPTION_LENGTH else description


def _line(standing: VersionStatus, link: str, room: int) -> str:
    """The line, shortened to the room that there is [characters]; empty when there is none."""
    when = dt.datetime.fromtimestamp(standing.at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    head = f"{OUTCOME_LINE_PREFIX}{standing.outcome} {'on' if standing.over else 'since'} {when}"
    tail = f" ([rollout {standing.rollout}]({link}))" if link else ""
    if len(head) + len(tail) > room:
        tail = ""
    reason = clean_reason(standing.reason).text
    told = ": " + _MARKUP.sub(r"\\\1", reason)
    if len(head) + len(told) + len(tail) > room:
        left = room - len(head) - len(tail) - 3
        told = f": {_MARKUP.sub('', reason)[:left]}…" if left > 0 else ""
    line = f"{head}{told}{tail}"
    return line if len(line) <= room else ""
