"""The module where the compiler links libstdc++ and libgcc statically: errors stay errors."""

import subprocess
import sys
from pathlib import Path

import pytest
import static_runtime

from effebm_ext import _C

ROOT = Path(__file__).parents[2]
FAILING_CHECKS = """
import torch, effebm_ext
from effebm_ext import _C
ops, x, key = torch.ops.effebm, torch.ones(3, 5), torch.zeros(2, dtype=torch.int64)
codes = _C.COMPRESSORS
for op, arguments, words in [
    (ops.compress, (x, codes["topk"], 6), "k: expected 0 <= k <= 5, got 6"),
    (ops.compress, (x, codes["block_sign"], -7), "block_size: expected at least 1, got -7"),
    (ops.perturbed_pair, (x, key, 0, 2**32 - 2, 0.1), "chains below 2**32, got 4294967294"),
    (ops.langevin_step, (x, x, key, 0, -1, 0.1), "chains below 2**32, got -1"),
]:
    for _ in range(3):
        try:
            op(*arguments)
        except RuntimeError as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"no error says {words!r}")
print(_C.__file__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="static libraries are linked so on Linux")
def test_failed_checks_raise_under_static_libraries(tmp_path):
    environment = static_runtime.environment(tmp_path)
    # The objects of the installation, where they lie in build/, are only linked again.
    command = [sys.executable, "setup.py", "build", "--build-lib", tmp_path]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, "EFFEBM_CPU_ONLY": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    module = tmp_path / "effebm_ext" / Path(_C.__file__).name

    libraries = static_runtime.needed(module)
    assert "libgcc_s.so.1" in libraries
    assert "libstdc++.so.6" not in libraries  # else this test would show nothing
    assert static_runtime.exported(module) <= static_runtime.exported(_C.__file__)

    done = subprocess.run(
        [sys.executable, "-c", FAILING_CHECKS],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == str(module)
