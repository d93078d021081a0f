"""PTX from CUDA sources."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def find_nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def compile_ptx(
    path: str | Path,
    arch: str = "compute_90",
    flags: Sequence[str] = (),
    include_paths: Sequence[str | Path] = (REPOSITORY / "csrc",),
) -> str:
    """Returns the PTX that nvcc makes of a source, without contraction, as the library is built."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise FileNotFoundError("nvcc is not installed")
    includes = [f"-I{folder}" for folder in (Path(path).parent, *include_paths)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernel.ptx"
        command = [nvcc, "-ptx", f"-arch={arch}", "-fmad=false", "-std=c++20", "-O3"]
        result = subprocess.run(
            [*command, *includes, *flags, str(path), "-o", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"nvcc failed for {path}:\n{result.stdout}{result.stderr}")
        return out.read_text()
