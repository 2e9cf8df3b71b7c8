"""Read versions and aliases from the MLflow registry, detect their changes, and set aliases."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.client import RetryingClient, model_versions_filter
from surefoot.adapters.mlflow.errors import is_missing_alias_error
from surefoot.core.domain import RegistryView, Version
from surefoot.core.errors import NotFound, RegistryUnavailable, Rejected

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

DATA_DIGEST_TAG = "surefoot.data_digest"
PENDING_VERSION_TIMEOUT_S = 3600.0
"""How long a version may be in registration before it is given up [s]."""
_FEW_MODELS = 8
"""So many models are asked for one by one; more of them in a search over all of the registry [count]."""
_LARGEST_PAGE = 1000
_MODELS_A_CALL = 100
"""Models whose versions are asked for in one call [count]: the filter that names them stays a short text."""
_LISTED = 20  # a message names no more versions or models than a person reads


@dataclass(frozen=True, slots=True)
class RegistryFingerprint:
    """Aliases of a registered model, and a state that changes with its versions, read without reading each version.

    Attributes:
        aliases: Version numbers by alias.
        state: Changes whenever a version is added, deleted, moved to another stage or gets another status.
    """

    aliases: Mapping[str, str]
    state: tuple[object, ...]


def _fingerprint(found: "RegisteredModel") -> RegistryFingerprint:
    latest = sorted((str(one.version), str(one.current_stage), str(one.status)) for one in found.latest_versions or ())
    aliases = {name: str(number) for name, number in found.aliases.items()}
    return RegistryFingerprint(aliases, (found.last_updated_timestamp, *latest))


def _view(aliases: Mapping[str, str], versions: "Sequence[ModelVersion]") -> RegistryView:
    return RegistryView(
        exists=True,
        aliases=aliases,
        stages={str(one.version): str(one.current_stage) for one in versions},
        statuses={str(one.version): str(one.status) for one in versions},
        data_digests={str(one.version): one.tags[DATA_DIGEST_TAG] for one in versions if one.tags.get(DATA_DIGEST_TAG)},
    )


class MlflowRegistry:
    """One MLflow registry.

    Attributes:
        uri: Address of the registry.
    """

    def __init__(self, uri: str, fetch: Callable[[str, str], tuple[Path, str]], deadline_s: float = 20.0) -> None:
        """Remember where; nothing is imported or asked before the first call.

        Args:
            uri: Tracking and registry URI, for example "http://127.0.0.1:5000".
            fetch: Downloads the artifact of (model, number); returns its folder and digest.
            deadline_s: How long one operation may keep trying [s]; at least one request is made, and one
                that hangs takes MLFLOW_HTTP_REQUEST_TIMEOUT, which is 5 s unless set.
        """
        self.uri = uri
        self._fetch = fetch
        self._mlflow = RetryingClient(uri, deadline_s)
        self._digests: dict[tuple[str, str, str], str] = {}

    def resolve(self, model: str, number: str) -> Version:
        """Look a version up and digest its whole artifact.

        The digest is remembered for as long as this object lives and the version's source stays the same.

        Raises:
            NotFound: No such model or version; says which there are.
            Rejected: The version's registration has failed.
            RegistryUnavailable: MLflow does not answer, or the version is still being registered.
        """
        try:
            # What is no number at all is refused by MLflow as malformed; to a person it is missing.
            asked = number if number.isdecimal() else "0"
            found = self._mlflow.call(lambda client: client.get_model_version(model, asked))
        except NotFound as error:
            raise NotFound(self._nearest(model, number)) from error
        _demand_ready(found, model)
        key = (model, number, str(found.source))
        if key not in self._digests:
            self._digests[key] = self._mlflow.call(lambda _: self._fetch(model, number)[1])
        return Version(str(found.version), self._digests[key], found.tags.get(DATA_DIGEST_TAG, ""))

    def alias(self, model: str, alias: str) -> str | None:
        """Version number that an alias points to, or None when it is not set.

        Raises:
            NotFound: No such model.
            Rejected: MLflow does not allow such a name.
            RegistryUnavailable: MLflow does not answer.
        """
        return self._mlflow.call(lambda client: _alias(client, model, alias))

    def view(self, model: str) -> RegistryView:
        """Everything that the registry says of a model, in one call and one more for each page of versions.

        Raises:
            Rejected: MLflow does not let us look.
            RegistryUnavailable: MLflow does not answer.
        """
        try:
            aliases = self.aliases(model)
        except NotFound:
            return RegistryView(exists=False)
        return _view(aliases, self._versions(model))

    def views(self, models: Collection[str]) -> dict[str, RegistryView]:
        """Everything that the registry says of many models, in a few calls for each hundred of them.

        The answers are of different moments: what follows from one of them is looked at again before it is done.

        Raises:
            Rejected: MLflow does not let us look.
            RegistryUnavailable: MLflow does not answer.
        """
        if len(models) <= _FEW_MODELS:
            return {model: self.view(model) for model in models}
        aliases = {name: one.aliases for name, one in self.fingerprints(models).items()}
        listed = sorted(name for name in aliases if "'" not in name and "\\" not in name)
        versions: dict[str, list[ModelVersion]] = {name: [] for name in listed}
        for first in range(0, len(listed), _MODELS_A_CALL):
            names = ", ".join(f"'{name}'" for name in listed[first : first + _MODELS_A_CALL])
            for one in self._find_versions(f"name IN ({names})"):
                if one.name in versions:
                    versions[one.name].append(one)
        found = {name: _view(aliases[name], of_model) for name, of_model in versions.items()}
        found |= {name: self.view(name) for name in aliases if name not in versions}
        return {model: found.get(model, RegistryView(exists=False)) for model in models}

    def aliases(self, model: str) -> dict[str, str]:
        """Every alias of a model with the version number it points to.

        Raises:
            NotFound: No such model.
            RegistryUnavailable: MLflow does not answer.
        """
        found = self._mlflow.call(lambda client: client.get_registered_model(model))
        return {name: str(number) for name, number in found.aliases.items()}

    def alias_and_tag(self, model: str, alias: str, tag: str) -> tuple[str | None, str | None]:
        """Version number that an alias points to, and value of a tag of the model, both of one moment.

        None stands for what is not set, also where there is no such model.

        Raises:
            Rejected: MLflow does not let us look.
            RegistryUnavailable: MLflow does not answer.
        """
        try:
            found = self._mlflow.call(lambda client: client.get_registered_model(model))
        except NotFound:
            return None, None
        number = found.aliases.get(alias)
        return None if number is None else str(number), found.tags.get(tag)

    def set_model_tag(self, model: str, tag: str, value: str) -> None:
        """Set a tag of a registered model; safe to repeat, and no write when it is so already.

        Raises:
            NotFound: No such model.
            Rejected: MLflow does not allow us.
            AliasDrift: Another client has set the tag while we did.
            RegistryUnavailable: MLflow does not answer; nothing changed.
            OutcomeUnknown: The change was sent, and whether it was applied is not known.
        """
        self._mlflow.ensure_written(
            lambda client: client.get_registered_model(model).tags.get(tag),
            lambda client: client.set_registered_model_tag(model, tag, value),
            value,
            f"tag {tag} of {model}",
        )

    def set_alias(self, model: str, alias: str, number: str | None) -> None:
        """Point an alias to a version, or remove it; safe to repeat, and no write when it is so already.

        Raises:
            NotFound: No such model or version.
            Rejected: MLflow does not allow such a name, or does not allow us.
            AliasDrift: Somebody else moved the alias while we did.
            RegistryUnavailable: MLflow does not answer; nothing changed.
            OutcomeUnknown: The change was sent, and whether it was applied is not known.
        """

        def write(client: "MlflowClient") -> None:
            if number is None:
                client.delete_registered_model_alias(model, alias)
            else:
                client.set_registered_model_alias(model, alias, number)

        self._mlflow.ensure_written(
            lambda client: _alias(client, model, alias), write, number, f"alias {alias} of {model}"
        )

    def models(self) -> tuple[str, ...]:
        """Names of all registered models, sorted.

        Raises:
            RegistryUnavailable: MLflow does not answer.
        """
        found = self._mlflow.read_pages(lambda token, client: client.search_registered_models(page_token=token))
        return tuple(sorted(str(one.name) for one in found))

    def fingerprints(self, models: Collection[str]) -> dict[str, RegistryFingerprint]:
        """What tells whether anything of a model has changed, for many models in few calls; absent ones are left out.

        Raises:
            Rejected: MLflow does not let us look.
            RegistryUnavailable: MLflow does not answer.
        """
        if len(models) > _FEW_MODELS:
            found = self._mlflow.read_pages(
                lambda token, client: client.search_registered_models(max_results=_LARGEST_PAGE, page_token=token)
            )
            return {str(one.name): _fingerprint(one) for one in found if one.name in models}
        made = {}
        for model in models:
            with suppress(NotFound):
                made[model] = _fingerprint(self._mlflow.call(methodcaller("get_registered_model", model)))
        return made

    def _versions(self, model: str) -> "list[ModelVersion]":
        found = self._find_versions(model_versions_filter(model))
        return sorted((one for one in found if one.name == model), key=lambda one: int(one.version), reverse=True)

    def _find_versions(self, named: str) -> "list[ModelVersion]":
        """Versions that a filter of MLflow finds, whatever their number."""
        return self._mlflow.read_pages(lambda token, client: client.search_model_versions(named, page_token=token))

    def _nearest(self, model: str, number: str) -> str:
        models = self.models()
        if model not in models:
            near = get_close_matches(model, models, n=3)
            listed = [*near, *(one for one in sorted(models) if one not in near)]
            more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            return f"no registered model {model}; registered: {', '.join(listed[:_LISTED]) or 'none'}{more}"
        alias = number.strip().lstrip("@")
        if not number.isdecimal() and (pointed := self.aliases(model).get(alias)):
            return f"'{number}' is no version number of {model}: alias {alias} points to version {pointed}"
        versions = self._versions(model)[:1]
        if alias.lower() == "latest" and versions:
            return f"'{number}' is no version number of {model}: its newest version is {versions[0].version}"
        numbers = [str(one.version) for one in reversed(self._versions(model)[:_LISTED])]
        return f"model {model} has no version {number}; it has {', '.join(numbers) or 'none'}"


def _demand_ready(found: "ModelVersion", model: str) -> None:
    """Refuse a version whose files may be incomplete.

    Raises:
        Rejected: Its registration has failed, or has taken longer than PENDING_VERSION_TIMEOUT_S.
        RegistryUnavailable: It is still being registered: later it may be ready.
    """
    status = str(found.status)
    if status == "READY":
        return
    what = f"version {found.version} of {model} is {status}"
    said = f" ({found.status_message})" if found.status_message else ""
    age = time.time() - found.creation_timestamp / 1000.0
    if status == "PENDING_REGISTRATION" and age < PENDING_VERSION_TIMEOUT_S:
        raise RegistryUnavailable(f"{what}{said}: its files may still be on their way; ask again when it is READY")
    late = f" after {age / 3600.0:.0f} hours" if status == "PENDING_REGISTRATION" else ""
    raise Rejected(f"{what}{late}{said}: its files may be incomplete; register the model again")


def _alias(client: "MlflowClient", model: str, alias: str) -> str | None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - costs 2.6 CPU seconds

    try:
        return str(client.get_model_version_by_alias(model, alias).version)
    except MlflowException as error:
        if is_missing_alias_error(error):
            return None
        raise
