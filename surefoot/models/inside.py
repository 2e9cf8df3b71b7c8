"""A model in the gateway's own process: quick to have, and able to take the gateway with it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from surefoot.models.contract import Checks, Cost, Manner, Model, Names
from surefoot.models.rows import Proof
from surefoot.models.watch import Watch


class Inside:
    """A model that is asked in a thread of its own."""

    again = None

    def __init__(self, model: Model, proof: Proof | None = None) -> None:
        """Ask this model, of whose rows this is known; without a proof it is believed."""
        self._watch = Watch(model, proof)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.cost: Cost | None = None

    @property
    def joins(self) -> bool:
        """Whether rows of different requests may be predicted together."""
        return self._watch.proof.row_wise

    @property
    def proof(self) -> Proof:
        """Why they may or may not be."""
        return self._watch.proof

    @property
    def checks(self) -> Checks:
        """How often rows were asked again alone."""
        return Checks(self._watch.checked, self._watch.differed)

    async def ask(self, names: Names, values: list[list[object]], manner: Manner) -> list[object]:
        """Answer every row."""
        told = manner.told()
        answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, names, values, told)
        self._thread.submit(self._watch.look, names, values, told, answers)
        return answers

    def _answer(self, names: Names, values: list[list[object]], told: tuple[object, bool]) -> list[object]:
        began = time.thread_time()
        answers = self._watch.answer(names, values, *told)
        self.cost = Cost(round((time.thread_time() - began) * 1000.0, 4))
        return answers

    def kill(self) -> None:
        """A thread cannot be ended."""

    def close(self) -> None:
        """Nothing more will be asked."""
        self._thread.shutdown(wait=False, cancel_futures=True)
