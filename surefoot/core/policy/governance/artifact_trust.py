"""Define which model files a policy accepts, and check the formats, signature and provenance of a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from surefoot.core.approvals.version_claims import VersionFacts
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import OptionalKey, Texts, one_or_more_schema
from surefoot.core.policy.violations import rule_error

_GENERIC_FLAVOR = "python_function"
"""Flavour by which every other one is served, and which says nothing of the format of the model."""
SIGNATURE_FIELD_NAME = "signature"
"""Name under which the journal keeps, beside the provenance of a version, whose key has signed its files."""
_SHOWN_FILES = 3
_MAX_TEXT_LENGTH = 300
"""Most of one provenance fact that the journal keeps [characters]."""


ProvenanceKind = Literal["data", "features", "hyperparameters", "evaluation", "code", "author"]
"""What is known of how a version came to be."""
_WHERE_IT_IS_SAID: dict[ProvenanceKind, str] = {
    "data": "mlflow.log_input in its run, or the version's tag surefoot.data_digest",
    "features": "a signature with column names",
    "hyperparameters": "parameters of its run",
    "evaluation": "metrics of its run",
    "code": "a run started from a git checkout, or the tag mlflow.source.git.commit",
    "author": "a user of the version or of its run",
}


def _key_files(names: tuple[str, ...]) -> tuple[str, ...]:
    """Name at least one file, each once, by its place from the policy."""
    if not names:
        raise rule_error("names no file, so no version could be promoted: name a public key, or leave the key out")
    if len(set(names)) < len(names):
        raise rule_error("names a file twice")
    if outside := next((name for name in names if PurePosixPath(name).is_absolute()), ""):
        raise rule_error(f"'{outside}' is absolute: write the path from the folder of the policy")
    return names


_KeyFiles = Annotated[
    Texts, AfterValidator(_key_files), one_or_more_schema({"type": "string", "minLength": 1}, least=1)
]


class ArtifactSection(PolicyModel):
    """Which files of a version are taken."""

    flavors: OptionalKey[Texts] = Field(
        None, description="MLflow flavours that a version may have beside python_function; any by default."
    )
    pickle: Literal["allow", "warn", "refuse"] = Field(
        "warn",
        description="Whether a version may hold pickles, which run their author's code when they are loaded;"
        " 'warn' allows them, and lint and plan say so.",
    )
    signed_by: OptionalKey[_KeyFiles] = Field(
        None,
        description="PEM files of public keys or certificates, by their path from the policy's folder; a version is"
        " promoted only with an OpenSSF model signature by one of them.",
    )


@dataclass(frozen=True, slots=True)
class ArtifactContents:
    """What the files of a version are.

    Attributes:
        flavors: MLflow flavours that it declares.
        pickles: Files that are pickles, by their place in the artifact.
    """

    flavors: tuple[str, ...] = ()
    pickles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What came of checking the signature of a version.

    Attributes:
        signer: Whose key has signed exactly its files; empty where none of the policy's has.
        problem: Why no key of the policy has signed them, as a clause; empty where one has.
    """

    signer: str = ""
    problem: str = ""


def find_artifact_problem(section: ArtifactSection, contents: ArtifactContents) -> str:
    """Why a policy does not take the files of a version, as a clause; empty when it does.

    Args:
        section: What the policy takes.
        contents: What the version holds.
    """
    other = [flavor for flavor in contents.flavors if flavor != _GENERIC_FLAVOR] or list(contents.flavors)
    allowed = section.flavors
    if allowed is not None and (wrong := [flavor for flavor in other if flavor not in allowed]):
        return f"its flavour {', '.join(wrong)} is not in artifacts.flavors of the policy ({', '.join(allowed)})"
    if section.pickle == "refuse" and contents.pickles:
        return (
            f"it holds {describe_pickles(contents.pickles)}, and the policy says 'pickle: refuse': save the model in a"
            " format without code, such as skops or ONNX"
        )
    return ""


def describe_pickles(pickles: Sequence[str]) -> str:
    """Files that are pickles, in words."""
    named = ", ".join(pickles[:_SHOWN_FILES]) + (", ..." if len(pickles) > _SHOWN_FILES else "")
    return f"the pickle{'' if len(pickles) == 1 else 's'} {named}"


def read_provenance(facts: VersionFacts, authors: Sequence[str]) -> dict[str, str]:
    """What is known of how a version came to be, as one text for each kind; unknown kinds are left out.

    Args:
        facts: What the registry knows of the version.
        authors: Who made it, as the registry names them.
    """
    known: dict[ProvenanceKind, Mapping[str, str]] = {
        "data": facts.data,
        "features": facts.features,
        "hyperparameters": facts.parameters,
        "evaluation": facts.metrics,
        "code": {name: value for name, value in facts.code.items() if name == "commit"},
        "author": dict.fromkeys(authors, ""),
    }
    return {kind: _one_text(values) for kind, values in known.items() if values}


def _one_text(values: Mapping[str, str]) -> str:
    text = ", ".join(f"{name}={value}" if value else name for name, value in values.items())
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[: _MAX_TEXT_LENGTH - 1]}…"


def describe_missing_provenance(wanted: Sequence[ProvenanceKind], known: Mapping[str, str]) -> str:
    """What a policy demands to know of a version and the registry does not, as a clause; empty when nothing is missing.

    Args:
        wanted: What the policy demands.
        known: What is known, by kind.
    """
    missing = [kind for kind in wanted if kind not in known]
    if not missing:
        return ""
    named = "; ".join(f"{kind} ({_WHERE_IT_IS_SAID[kind]})" for kind in missing)
    return f"its policy demands provenance that MLflow does not have of it: {named}"
