"""One random call of an op."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from fuzz.memory import Memory, Wrong


class Call:
    """One call. A builder below gives it ``invoke``, what ``check`` does with the result, and, if
    it must be refused, the ``fault``."""

    def __init__(self, name: str, draw: random.Random) -> None:
        self.name, self.draw = name, draw
        self.memory = Memory(draw)
        self.fault: str | None = None
        self.told: dict[str, object] = {}
        self.invoke: Callable[[], Any]
        self.check: Callable[[Any], None]

    def __str__(self) -> str:
        told = self.told | {"fault": self.fault}
        return f"{self.name} " + " ".join(f"{k}={v}" for k, v in told.items()).replace("\n", "")

    def choose_fault(self, faults: list[str]) -> str | None:
        self.fault = self.draw.choice(faults) if self.draw.random() < 0.35 else None
        return self.fault

    def run(self) -> str:
        """``right`` or ``refused``.

        Raises:
            Wrong: neither.
        """
        try:
            result = self.invoke()
        except (TypeError, ValueError, RuntimeError) as error:
            self.memory.check_untouched()
            if self.fault is None:
                raise Wrong(f"refused: {error!r}") from error
            return "refused"
        if self.fault is not None:
            raise Wrong("accepted")
        self.check(result)
        self.memory.check()
        return "right"
