"""Train the demo's model versions in a process of its own."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.core.errors import Unavailable

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TrainedVersions = list[tuple[int, "Pipeline", str]]
"""Trained versions: index into the demo's recipes, fitted pipeline, digest of the training data."""


class TrainingProcess:
    """Trains every version in a process of its own, beside the servers that are starting.

    A thread would import scikit-learn at the same time as this process's main thread, which breaks the import of both.
    """

    def __init__(self, cache: Path) -> None:
        """Start the process.

        Args:
            cache: Parquet file of the flights; built when it is missing.
        """
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of running threads
        self._received, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_train, args=(cache, sender), name="training", daemon=True)
        self.process.start()
        sender.close()  # the child has its own: when the child ends, `recv` sees the end

    def result(self) -> TrainedVersions:
        """Wait for the trained versions.

        Raises:
            Unavailable: The training failed, or its process ended; the message says why.
        """
        try:
            outcome = self._received.recv()
        except EOFError:
            self.process.join()
            raise Unavailable(f"the training process ended with code {self.process.exitcode}") from None
        if isinstance(outcome, str):
            raise Unavailable(f"the demo's models could not be trained: {outcome}")
        return outcome  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End the process if it still runs."""
        self.process.kill()
        self.process.join()
        self._received.close()


@contextlib.contextmanager
def training_process(cache: Path) -> Iterator[TrainingProcess]:
    """Train while the block runs; its end ends the process.

    Args:
        cache: Parquet file of the flights; built when it is missing.
    """
    training = TrainingProcess(cache)
    try:
        yield training
    finally:
        training.stop()


def _train(cache: Path, sender: Connection) -> None:
    """Main function of the training process: send the trained versions, or the error as text."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent ends this process
    try:
        from surefoot.demo.flight_requests import build_requests  # noqa: PLC0415 - pandas and scikit-learn take seconds
        from surefoot.demo.model_versions import VERSION_RECIPES, train_versions  # noqa: PLC0415 - same

        made = train_versions(build_requests(cache))
        sender.send([(VERSION_RECIPES.index(recipe), pipeline, digest) for recipe, pipeline, digest in made])
    except Exception as error:  # noqa: BLE001 - reported by the process that waits
        sender.send(f"{type(error).__name__}: {error}")
