"""Compare the logged answers of a live drill with fresh champion answers."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.answer_comparison import write_answer_comparison
from surefoot.adapters.served_answers.corrected_answers import CorrectionSources, compute_corrected_answers
from surefoot.adapters.served_answers.exposed_requests import ExposureQuery, list_exposed_requests
from surefoot.column_encryption import build_column_decryptor
from surefoot.core.domain import Arm, LogPolicy
from surefoot.core.drills.live_drill_events import LiveDrillBegan
from surefoot.core.served_versions.exposure_periods import ExposurePeriod, ServingRole
from surefoot.settings import Settings


@dataclass(frozen=True, slots=True)
class ComparedAnswers:
    """The result of a comparison: rows compared, rows that differed, and rows that could not be compared.

    Attributes:
        rows: Answers of the candidate's arm in the prediction log [count].
        compared: Those that the champion was asked again, and answered [count].
        differed: Those that are not equal within float noise [count].
        why_unknown: Why an answer was not compared, and how many [count].
    """

    rows: int
    compared: int
    differed: int
    why_unknown: dict[str, int]


def compare_drill_answers(config: Settings, model: str, began: LiveDrillBegan, generation: int) -> ComparedAnswers:
    """Ask the champion again, in a process of its own, each row that the candidate's arm answered.

    Args:
        config: Where everything is.
        model: Registered model.
        began: The drill.
        generation: Generation of its split.

    Raises:
        EvidenceUnavailable: The log cannot be read, or there is no room for the answers.
        SurefootError: The champion cannot be loaded a second time.
    """
    champion = began.champion
    policy = wiring.read_policies(config).get(model)
    logged = policy.log_policy if policy is not None else LogPolicy()
    period = ExposurePeriod(generation, float("-inf"), float("inf"), ServingRole.CANARY, champion)
    question = ExposureQuery(
        model=model,
        number=champion.number,
        periods=(period,),
        dropped=frozenset(logged.dropped),
        hashed=frozenset(logged.hashed),
        rollout=began.drill,
        good=champion.number,
        arm=Arm.CANDIDATE.value,
    )
    start = wiring.make_version_processes(config).start_scorer
    # No answer that was kept of an earlier replay counts: the process that is asked now is what is compared with.
    decryptor = build_column_decryptor(config.log, question.model)
    who = CorrectionSources(
        {champion.number: champion}, start, lambda _version, _since, _until: (), strict=True, decryptor=decryptor
    )
    with tempfile.TemporaryDirectory(prefix="surefoot-live-drill-") as scratch:
        folder = Path(scratch)
        listed = list_exposed_requests(PredictionLog(config.log), question, folder)
        again = compute_corrected_answers(listed, question, who, folder)
        found = write_answer_comparison(listed, again, (), folder / "compared.parquet")
    return ComparedAnswers(found.rows, found.known, found.changed or 0, dict(found.unknown))
