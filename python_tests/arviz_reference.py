"""Reference values of ArviZ for diagnostics of chains. With ArviZ installed,

    python python_tests/arviz_reference.py

writes them to python_tests/evaluation/arviz_reference.json. The tests read that file and make the
same chains again, from numbers that Python promises to keep the same for a seed.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from statistics import NormalDist

FILE = Path(__file__).parent / "evaluation" / "arviz_reference.json"
METHODS = ("identity", "bulk", "tail")

Chains = list[list[float]]


def autoregression(
    seed: int, n_chains: int, n_draws: int, coefficient: float, shift: float = 0.0
) -> Chains:
    """Chains x_t = coefficient x_{t-1} + noise, whose means are ``shift`` apart."""
    uniform, normal = random.Random(seed), NormalDist()
    chains = []
    for chain in range(n_chains):
        x, states = 0.0, []
        for _ in range(n_draws):
            x = coefficient * x + normal.inv_cdf(uniform.random() or 0.5)
            states.append(x + shift * chain)
        chains.append(states)
    return chains


def trajectories() -> dict[str, Chains]:
    """The chains by name, ``n_chains`` lists of ``n_draws``."""
    heavy = autoregression(4, 4, 200, 0.3)
    return {
        "independent": autoregression(0, 4, 200, 0.0),
        "slow": autoregression(1, 4, 500, 0.9),
        "alternating": autoregression(2, 3, 201, -0.7),
        "different means": autoregression(3, 4, 150, 0.5, shift=0.8),
        "heavy tails": [[math.tan(1.2 * math.atan(x)) ** 3 for x in chain] for chain in heavy],
        "different widths": [
            [x * (1 + k) for x in chain] for k, chain in enumerate(autoregression(5, 4, 99, 0.2))
        ],
        "one chain of odd length": autoregression(6, 1, 57, 0.4),
        "short": autoregression(7, 2, 9, 0.1),
        "ties": [[float(round(x)) for x in chain] for chain in autoregression(8, 4, 120, 0.5)],
        "trend": [
            [x + t / 50 for t, x in enumerate(chain)] for chain in autoregression(9, 4, 103, 0.1)
        ],
    }


def main() -> None:
    import arviz
    import numpy as np

    values = {}
    for name, chains in trajectories().items():
        x = np.array(chains)
        values[name] = {method: float(arviz.ess(x, method=method)) for method in METHODS}
        if len(x) > 1:  # ArviZ gives none for one chain
            values[name]["r_hat"] = float(arviz.rhat(x, method="rank"))
    content = {"arviz": arviz.__version__, "values": values}
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
