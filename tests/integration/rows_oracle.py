"""What `predict` of MLflow says to each row alone, each kind in a fresh process: MODELS OUT KIND ..."""

import json
import os
import sys
import warnings
from pathlib import Path

from tests.integration import rows_kinds


def main() -> None:
    """Write OUT/KIND.json for every kind."""
    root, out, *kinds = sys.argv[1:]
    for kind in kinds:
        pid = os.fork()  # what one kind does to its process does not reach the next
        if pid == 0:
            code = 1
            try:
                answer(Path(root), Path(out), kind)
                code = 0
            finally:
                os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit(f"{kind} has failed")


def answer(root: Path, out: Path, kind: str) -> None:
    """Ask for one row at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types and versions
        import mlflow.pyfunc  # noqa: PLC0415 - after the fork

        model = mlflow.pyfunc.load_model(str(root / rows_kinds.NUMBERS[kind]))
        table = rows_kinds.table(kind)
        wanted = model.metadata.get_input_schema().input_names()
        rows = [table.iloc[[index]][wanted].reset_index(drop=True) for index in range(len(table))]
        found = [rows_kinds.told(model.predict(row)) for row in rows]
    draft = out / f".{kind}"
    draft.write_text(json.dumps(found), encoding="utf-8")
    draft.rename(out / f"{kind}.json")  # whole from the beginning, for the test waits for it


if __name__ == "__main__":
    main()
