"""Define the arguments of the process that registers a drill's versions."""

import json
from dataclasses import asdict, dataclass

GOOD, FAULTY = "1", "2"
"""Version numbers in the registry of a twin."""
TYPICAL_INPUTS_FILE = "usual.json"
"""What was usual among the requests, beside the versions."""


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """The versions that a process is to register, and where; passed as its argument.

    Attributes:
        model: Registered model.
        registry: SQLAlchemy URL of the twin's registry.
        folder: Where the versions are saved.
        good: Directory of the good version; empty for the model of the demo, which is trained then.
        traffic: Parquet file of the twin's requests; written where the model is that of the demo.
        cache: Folder for what later drills use again.
    """

    model: str
    registry: str
    folder: str
    good: str
    traffic: str
    cache: str

    def as_text(self) -> str:
        """The order as the argument of the process."""
        return json.dumps(asdict(self))
