"""Where nvcc, cuobjdump and nvdisasm are, and how they are called."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class ToolMissing(FileNotFoundError):
    """A program of the CUDA toolkit is not installed."""


def find_nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def find_cuobjdump() -> str | None:
    """cuobjdump of ``CUOBJDUMP``, the path, or the package nvidia-cuda-cuobjdump; None where it or
    nvdisasm, which it runs, is missing."""
    found = os.environ.get("CUOBJDUMP") or _find("cuobjdump")
    return found if found and _find("nvdisasm", Path(found).parent) else None


def _find(program: str, *folders: Path) -> str | None:
    packages = Path(sysconfig.get_path("purelib"), "nvidia").glob("cu*/bin")
    for folder in (None, *folders, *packages, "/usr/local/cuda/bin"):
        if found := shutil.which(program, path=folder and str(folder)):
            return found
    return None


def dump(file: Path, what: str, *more: str) -> str:
    """What cuobjdump prints of a file under an option such as ``--dump-sass``."""
    cuobjdump = find_cuobjdump()
    if cuobjdump is None:
        raise ToolMissing(
            "cuobjdump or nvdisasm was not found: pip install nvidia-cuda-cuobjdump "
            "nvidia-cuda-nvdisasm, or name it in CUOBJDUMP"
        )
    nvdisasm = _find("nvdisasm", Path(cuobjdump).parent) or ""
    path = f"{Path(nvdisasm).parent}{os.pathsep}{os.environ['PATH']}"
    return run([cuobjdump, what, *more, str(file)], PATH=path)[0]


def run(command: list[str], **environment: str) -> tuple[str, str]:
    """What a command prints and what it says."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


@functools.cache
def project_flags() -> list[str]:
    """``NVCC_FLAGS`` of setup.py, read without running it, as that needs torch."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NVCC_FLAGS":
            return list(ast.literal_eval(node.value))
    raise LookupError("setup.py has no list NVCC_FLAGS")


def compile_cubin(source: Path, out: Path, arch: str) -> str:
    """Compiles a source as the build does, for one architecture; returns what ptxas says."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise ToolMissing("nvcc was not found")
    include = f"-I{REPOSITORY / 'csrc'}"
    flags = [*project_flags(), f"-arch={arch}", include, "-Xptxas", "-v"]
    return run([nvcc, *flags, "-cubin", str(source), "-o", str(out)])[1]


def demangle(names: list[str]) -> dict[str, str]:
    """The names as C++ writes them, or as they are where no program can tell."""
    program = shutil.which("cu++filt") or shutil.which("c++filt")
    if program is None or not names:
        return {name: name for name in names}
    return dict(zip(names, run([program, *names])[0].splitlines(), strict=True))
