"""Compiles the objects of an extension side by side, those only that are not up to date. setup.py
runs this file by itself.

What an object was made of is told by content, not by time: its sources, as the compiler names them,
and its flags. So objects that were copied with the tree are up to date on another machine, too.
"""

import concurrent.futures
import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    """One object to be compiled from a source by ``compiler`` with ``flags``."""

    compiler: list[str]
    flags: list[str]
    source: Path
    target: Path
    besides: str = ""  # what the object depends on that is neither a flag nor below this folder

    @property
    def command(self) -> list[str]:
        outputs = ["-MMD", "-MF", f"{self.target}.d", "-c", str(self.source), "-o"]
        return [*self.compiler, *self.flags, *outputs, str(self.target)]


def compile_objects(jobs: Iterable[Job]) -> list[str]:
    """Brings the objects up to date, by as many processes at a time as ``MAX_JOBS`` says or there
    are cores, and returns their paths. What a compiler says is printed when it ends.

    Raises:
        SystemExit: a compiler failed; what had not begun by then is left out.
    """
    jobs = list(jobs)
    stale = [job for job in jobs if _read(_stamp_file(job)) != _stamp(job)]
    workers = min(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1), len(stale))
    failed = ""
    with concurrent.futures.ThreadPoolExecutor(max(workers, 1)) as pool:
        running = [pool.submit(_compile, job) for job in stale]
        for done in concurrent.futures.as_completed(running):
            if done.cancelled():
                continue
            command, output, code = done.result()
            print(f"{command}\n{output}", end="", flush=True)
            if code and not failed:
                failed = f"exit code {code} of {command}"
                for other in running:
                    other.cancel()
    if failed:
        raise SystemExit(failed)
    return [str(job.target) for job in jobs]


def _compile(job: Job) -> tuple[str, str, int]:
    job.target.parent.mkdir(parents=True, exist_ok=True)
    _stamp_file(job).unlink(missing_ok=True)
    begin = time.time()
    done = subprocess.run(
        job.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    # A file that was changed meanwhile may or may not be in the object.
    if done.returncode == 0 and all(path.stat().st_mtime < begin for path in _files(job)):
        _stamp_file(job).write_text(str(_stamp(job)))
    return shlex.join(job.command), done.stdout, done.returncode


def _stamp_file(job: Job) -> Path:
    return Path(f"{job.target}.stamp")


def _stamp(job: Job) -> str | None:
    """The digest of what the object is made of; None if there is no object or a file is gone."""
    digest = hashlib.sha256(repr([job.flags, str(job.source), job.besides]).encode())
    try:
        for path in _files(job):
            digest.update(f"{path}\n".encode() + path.read_bytes())
    except FileNotFoundError:
        return None
    return digest.hexdigest() if job.target.exists() else None


def _files(job: Job) -> list[Path]:
    """What the compiler read of the files below this folder."""
    rule = Path(f"{job.target}.d").read_text().replace("\\\n", " ").partition(": ")[2]
    return sorted({Path(name) for name in rule.split() if not Path(name).is_absolute()})


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "never compiled"
