"""Do the tests notice when a kernel loses a barrier or an atomic?

mutate.py COMMAND FILE... copies the repository, breaks every barrier and atomicAdd of the files
one by one, and runs the command (a shell's, which builds and tests) in the copy. Prints which
mutants survive: each is a gap in the tests or a barrier that nobody needs.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("CMakeLists.txt", "csrc", "tools")
RULES = (
    (re.compile(r"__sync(threads|warp)\(\);"), ";"),
    (re.compile(r"atomicAdd\((&[^,]+), ([^)]+)\)"), r"*(\1) += \2"),
)


def mutants(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, what is broken, and the broken text."""
    for pattern, replacement in RULES:
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            broken = text[: match.start()] + match.expand(replacement) + text[match.end() :]
            yield line, match.group(), broken


def passes(command: str, folder: str, timeout: float) -> bool:
    try:
        return (
            subprocess.run(
                command, shell=True, cwd=folder, timeout=timeout, capture_output=True
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def main(command: str, *files: str) -> int:
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        if not passes(command, folder, 3600):
            sys.exit("the command fails without any mutant")
        for file in files:
            target = Path(folder) / file
            original = target.read_text()
            for line, what, broken in mutants(original):
                target.write_text(broken)
                survived = passes(command, folder, 600)
                survivors += survived
                print(f"{'SURVIVES' if survived else 'caught  '} {file}:{line} {what}", flush=True)
            target.write_text(original)
    return survivors


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
