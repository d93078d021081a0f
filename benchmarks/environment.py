"""What figures depend on and are quoted with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

import effebm_ext as eff
from effebm_ext import _C


def environment(device: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "effebm_ext": eff.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "torchebm": _version("torchebm"),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "instruction_set": _C.cpu_capability(),
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
    }
    if device == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": str(torch.version.cuda),
            "driver": _driver(),
            "triton": _version("triton"),
        }
    return found


def _commit() -> str:
    """Of the source tree this file is in, marked where there are changes on top of it; of a copy
    without its history what EFFEBM_COMMIT says."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return _first_line(command) or os.environ.get("EFFEBM_COMMIT", "unknown")


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return _first_line(command) or "unknown"


def _first_line(command: list[str]) -> str:
    """Of what a command prints; nothing where it fails."""
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.partition("\n")[0].strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
