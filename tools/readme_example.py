"""Runs the README's example by the interpreter that runs this, in the clone and in another folder.

It ends with an error if the example does, if its numbers are not those that the README promises, or
if the kernels do not come from the installed package.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMISED = [0.5, 1.0, 2.0]
WHERE = "\nfrom effebm_ext import _C\nprint(eff.__file__, _C.__file__, sep='\\n')\n"


def check(example: str, folder: Path, package: Path) -> None:
    """Runs the example in ``folder``, where Python files are to come from ``package``."""
    command = [sys.executable, "-c", example + WHERE]
    printed = subprocess.check_output(command, cwd=folder, text=True)
    *_, python_file, module = printed.splitlines()
    assert Path(python_file).is_relative_to(package), printed
    assert Path(module).is_relative_to(sys.prefix), printed
    for deviations in re.findall(r"tensor\(\[(.*)\]\)", printed):
        numbers = [float(number) for number in deviations.split(",")]
        assert all(abs(x / p - 1) < 0.1 for x, p in zip(numbers, PROMISED, strict=True)), printed
    assert printed.count("tensor(") == 2, printed
    print(f"in {folder}: {' '.join(printed.splitlines()[:2])}")


def main() -> None:
    section = (ROOT / "README.md").read_text().split("## Twenty lines")[1]
    example = section.split("```python\n")[1].split("```")[0]
    check(example, ROOT, ROOT / "effebm_ext")
    with tempfile.TemporaryDirectory() as folder:
        check(example, Path(folder), Path(sys.prefix))


if __name__ == "__main__":
    main()
