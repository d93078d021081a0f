"""Step sizes that fall, as objects that can be copied and sent to other processes."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class GeometricSteps:
    """Maps the number of a step to its size, which goes geometrically from ``first`` to ``last``.

    Attributes:
        first: the size of step 0.
        last: the size of step ``n``, and of all that follow.
        n: the number of steps between them, at least 1.
        period: begin anew after so many steps; 0: never.
        ahead: added to the number of a step. A run that changed the number of its steps on the way
            has made other steps than its schedule counts.
    """

    first: float
    last: float
    n: int
    period: int = 0
    ahead: int = 0

    def __call__(self, step: int) -> float:
        step = max(0, step + self.ahead)
        done = step % self.period if self.period else step
        return float(self.first * (self.last / self.first) ** min(done / self.n, 1.0))
