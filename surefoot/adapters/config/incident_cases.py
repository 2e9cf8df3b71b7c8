"""Read and write the back-test cases that were made from incidents."""

import json
from dataclasses import dataclass
from pathlib import Path

from surefoot.core.errors import EvidenceUnavailable, NotFound, Rejected
from surefoot.core.incidents.review.incident_case import IncidentCase, case_from_json, case_to_json
from surefoot.core.naming.model_names import model_file_name

_CASE_FILE = "case.json"


@dataclass(frozen=True, slots=True)
class StoredCase:
    """A regression case and the files of its recorded requests and labels.

    Attributes:
        folder: Its folder.
        case: What must be stopped.
    """

    folder: Path
    case: IncidentCase

    @property
    def records(self) -> Path:
        """The file of requests with both versions' answers, in the format of docs/record-schema.md."""
        return self.folder / "records.parquet"

    @property
    def labels(self) -> Path:
        """The file of labels that were reported for the requests."""
        return self.folder / "labels.parquet"


def case_folder(project: Path, model: str, incident: str) -> Path:
    """The folder of a case in a project."""
    return project / "configs" / "incidents" / model_file_name(model) / incident


def list_case_folders(project: Path, model: str) -> list[Path]:
    """The folders of all cases of a model, sorted."""
    return sorted(
        file.parent for file in (project / "configs" / "incidents" / model_file_name(model)).glob(f"*/{_CASE_FILE}")
    )


def read_case(folder: Path) -> StoredCase:
    """Read a case.

    Raises:
        NotFound: There is none in this folder.
        Rejected: It is broken; the message says where and why.
    """
    file = folder / _CASE_FILE
    if not file.is_file():
        raise NotFound(f"there is no case in {folder}: 'surefoot incident review' writes one")
    try:
        found = StoredCase(folder, case_from_json(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, Rejected) as error:
        raise Rejected(f"{file} cannot be read: {error}") from error
    if missing := [one.name for one in (found.records, found.labels) if not one.is_file()]:
        raise Rejected(f"the case {folder} has no {missing[0]}: commit the whole folder")
    return found


def write_case(folder: Path, case: IncidentCase) -> StoredCase:
    """Write the description of a case, which says what a policy must stop; its records are written elsewhere.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CASE_FILE).write_text(json.dumps(case_to_json(case), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise EvidenceUnavailable(f"the case {folder} cannot be written: {error}") from error
    return StoredCase(folder, case)
