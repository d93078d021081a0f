"""Runs the tests of the ops under another torch, with a wheel that was built against the usual one.

    python tools/torch_versions.py torch==2.11.0 --wheel build/wheel --venvs build/torch

The torch gets a virtual environment of its own in the folder of ``--venvs``, which later runs use
again; the wheel is installed there, nothing is compiled. Every file of tests runs in a process of
its own, so that one that crashes is reported as such and the others still run. One line is printed
at the end; a .log file beside the environment has what the tests printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The folders of tests that are left out: training, runs and experiments, and the build.
LEFT_OUT = ("objectives", "evaluation", "runs", "experiments", "benchmarks", "package")
ABOUT = """
import json, platform, torch, effebm_ext
from effebm_ext import _C
print(json.dumps({"torch": torch.__version__, "python": platform.python_version(),
                  "package": effebm_ext.__file__, "built_with": _C.build_info()["torch"]}))
"""
VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
VARIABLES["OMP_NUM_THREADS"] = "1"
TIMEOUT = 1800  # seconds for one file of tests


def environment(folder: Path, torch: str, wheel: Path) -> Path:
    """Returns the interpreter of the environment in ``folder``, which it makes if it is missing."""
    python, made = folder / "bin" / "python", folder / "made"
    pip = [str(python), "-m", "pip", "install", "-q"]
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, torch, f"{wheel}[test]"], check=True)
        made.touch()
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    return python


def files() -> list[Path]:
    tests = sorted((ROOT / "python_tests").rglob("test_*.py"))
    return [path for path in tests if path.parent.name not in LEFT_OUT]


def run(python: Path, path: Path) -> tuple[dict[str, int], str]:
    """Runs a file of tests; returns how many passed, failed, were skipped, and what it printed."""
    # The script pytest, unlike python -m pytest, does not import the package of the clone.
    pytest = [str(python.parent / "pytest"), "-c", str(ROOT / "pyproject.toml")]
    command = [*pytest, "-p", "no:cacheprovider", "-rfE", str(path)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=VARIABLES, capture_output=True, text=True, timeout=TIMEOUT
        )
        ending, printed = f"exit status {done.returncode}", done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        ending, printed = f"no end after {TIMEOUT} s", (error.stdout or b"").decode()
    summary = re.findall(r"^(?:\d+ [a-z]+|no tests ran).* in [\d.]+s", printed, re.MULTILINE)
    if not summary:
        return {"crashed": 1}, f"{printed}\n{path.name} crashed: {ending}\n"
    return {word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", summary[-1])}, printed


def commit() -> str:
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=, changed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("torch", help="as pip takes it, torch==2.11.0")
    parser.add_argument("--wheel", type=Path, required=True, help="the folder of the wheel")
    parser.add_argument("--venvs", type=Path, required=True, help="the folder of environments")
    options = parser.parse_args()
    (wheel,) = options.wheel.resolve().glob("effebm_ext-*.whl")
    name = re.sub(r"[^\w.+-]", "-", options.torch.removeprefix("torch=="))
    folder = options.venvs.resolve() / name
    python = environment(folder, options.torch, wheel)
    command = [str(python), "-c", ABOUT]
    about = json.loads(subprocess.check_output(command, cwd=folder, env=VARIABLES, text=True))
    assert Path(about["package"]).is_relative_to(folder), about["package"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda path: run(python, path), files()))
    folder.with_name(f"{name}.log").write_text("\n".join(printed for _, printed in results))

    def count(*words: str) -> int:
        return sum(counts.get(word, 0) for counts, _ in results for word in words)

    passed, failed, crashed = count("passed"), count("failed", "error", "errors"), count("crashed")
    print(
        f"torch {about['torch']}: {passed} passed, {failed} failed, {crashed} crashed, "
        f"{count('skipped')} skipped (wheel built with torch {about['built_with']}, "
        f"Python {about['python']}, commit {commit()})"
    )
    return int(failed + crashed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
