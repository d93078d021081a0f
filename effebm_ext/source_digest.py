"""The digest of the sources of the compiled modules. setup.py runs this file by itself."""

import hashlib
from pathlib import Path


def source_digest(root: Path) -> str:
    """The SHA-256 of setup.py and of csrc without its tests, in the folder ``root``."""
    suffixes = {".h", ".cpp", ".cu", ".cuh", ".txt"}
    files = [path for path in (root / "csrc").rglob("*") if path.suffix in suffixes]
    files += root.glob("setup.py")
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(root).as_posix() for path in files):
        if not name.startswith("csrc/tests/"):
            digest.update(f"{name}\n".encode())
            digest.update((root / name).read_bytes())
    return digest.hexdigest()
