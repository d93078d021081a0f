"""Public packages in a temporary folder, for the scripts beside this file."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def interpreter_with(*requirements: str) -> Iterator[str]:
    """A Python of a new virtual environment that has these packages and no others."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder, "bin", "python"))
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
        yield python


def printed(python: str, program: str) -> Any:
    """What the program prints as JSON."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-W", "ignore", "-c", program]
    return json.loads(subprocess.check_output(command, env=variables, text=True))


def compare(seen: Any, now: Any) -> int:
    """The exit status of a finding: 0 if it is as it was seen, 1 if the behaviour changed."""
    print(json.dumps(now, indent=1))
    if now == seen:
        return 0
    print(f"changed; it was {json.dumps(seen)}", file=sys.stderr)
    return 1
