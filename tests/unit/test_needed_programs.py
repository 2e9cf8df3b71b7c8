"""`.ci/need` looks for programs, and says in one line what cannot be installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

NEED = Path(__file__).parents[2] / ".ci" / "need"


@pytest.mark.parametrize("program", ["haproxy", "prometheus"])
def test_a_missing_program_is_not_taken_for_installed(program: str, tmp_path: Path) -> None:
    """Where a program is missing and cannot be installed, one line names its package; one that is there is found."""
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "id").write_text(f"#!{bash}\necho 1000\n")  # no root: nothing is installed
    (tmp_path / "id").chmod(0o755)
    said = subprocess.run(
        [bash, str(NEED), program], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert f"install the package '{program}'" in said.stderr
    for name in (program, "promtool"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    subprocess.run([bash, str(NEED), program], env={"PATH": str(tmp_path)}, check=True)
