"""Count the evidence in closed prediction-log files before a gate needs the counts."""

from collections.abc import Mapping

from surefoot import wiring
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.sections import Scoring
from surefoot.rollout import due_replay_requests
from surefoot.settings import Settings


class EvidenceCounter:
    """Counts a model's closed prediction-log files before the replay gates are evaluated, which then add up the counts.

    The processes of both versions stay until it is closed.
    """

    def __init__(self, config: Settings, model: str, rollout: str) -> None:
        """Nothing is read or loaded before the first question.

        Args:
            config: Where everything is.
            model: Registered model.
            rollout: Id of its open rollout.
        """
        self._config, self._model, self._rollout = config, model, rollout
        self._replay = wiring.make_replay(config, wiring.make_version_processes(config))

    def _ledger(self) -> Ledger:
        with wiring.open_journal(self._config) as journal:
            return fold_entries(self._model, journal.read(self._model))

    def _questions(self, asked_at: float) -> tuple[EvidenceRequest, ...]:
        return due_replay_requests(self._ledger(), self._rollout, asked_at)

    def scoring_settings(self) -> Scoring:
        """Where the rollout's policy wants both versions to be asked."""
        return parse_policy(self._ledger().rollouts[self._rollout].opened.policy).scoring

    def waiting_files(self, asked_at: float) -> Mapping[str, str]:
        """Names of the parts that wait to be counted, and of their files, oldest first.

        Args:
            asked_at: End of the window [Unix seconds].

        Raises:
            SurefootError: The journal or the log cannot be read.
        """
        return self._replay.uncounted_files(self._questions(asked_at))

    def count_file(self, name: str, asked_at: float) -> bool:
        """Count a part; whether there was something to count.

        Args:
            name: Name of the part.
            asked_at: End of the window, one for all parts [Unix seconds].

        Raises:
            SurefootError: The journal or the log cannot be read, or a version cannot be had.
        """
        return self._replay.count_file(self._questions(asked_at), name)

    def close(self) -> None:
        """End the processes of both versions."""
        self._replay.close()
