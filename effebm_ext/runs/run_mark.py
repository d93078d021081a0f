"""What marks a folder as that of a run, for what reads folders of data and what writes runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG = "config.json"
FORMAT = "effebm_ext run"  # what the field ``format`` of config.json says
_OLDER = {"data", "objective", "iterations"}  # among the fields from before there was a format


def is_configuration(content: Any) -> bool:
    """Returns whether the content of a JSON file looks like the configuration of a run."""
    if not isinstance(content, dict):
        return False
    return content.get("format") == FORMAT or ("format" not in content and content.keys() >= _OLDER)


def is_marked(folder: Path) -> bool:
    """Returns whether the folder has a configuration of a run, without a look at its values."""
    try:
        return is_configuration(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
