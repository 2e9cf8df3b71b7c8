"""Run a model in a thread of the calling process, without isolation."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from surefoot.models.model_protocols import AnswerCost, BatchRecheckCounts, ColumnNames, Model, RequestOptions
from surefoot.models.rows.independence import IndependenceResult
from surefoot.models.rows.live_recheck import LiveRecheck


class InProcessModel:
    """A model that answers in a thread of its own."""

    spawn_replica = None
    probe_deaths = 0

    def __init__(self, model: Model, independence: IndependenceResult | None = None) -> None:
        """Run this model; without a result its own claim about its rows is believed."""
        self._watch = LiveRecheck(model, independence)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.cost: AnswerCost | None = None

    @property
    def batchable(self) -> bool:
        """Whether rows of different requests may be predicted together."""
        return self._watch.independence.row_wise

    @property
    def independence(self) -> IndependenceResult:
        """Why they may or may not be."""
        return self._watch.independence

    @property
    def checks(self) -> BatchRecheckCounts:
        """How often rows were asked again alone."""
        return BatchRecheckCounts(self._watch.checked, self._watch.differed)

    async def ask(self, names: ColumnNames, values: list[list[object]], options: RequestOptions) -> list[object]:
        """Answer every row."""
        arguments = options.arguments()
        answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, names, values, arguments)
        self._thread.submit(self._watch.check_batch, names, values, arguments, answers)
        return answers

    def _answer(self, names: ColumnNames, values: list[list[object]], arguments: tuple[object, bool]) -> list[object]:
        began, cpu = time.perf_counter(), time.thread_time()
        answers = self._watch.answer(names, values, *arguments)
        cpu_ms, model_ms = (time.thread_time() - cpu) * 1000.0, (time.perf_counter() - began) * 1000.0
        self.cost = AnswerCost(round(cpu_ms, 4), None, round(model_ms, 4))
        return answers

    def kill(self) -> None:
        """Do nothing: a thread cannot be killed."""

    def close(self) -> None:
        """Stop the thread once it is idle."""
        self._thread.shutdown(wait=False, cancel_futures=True)
