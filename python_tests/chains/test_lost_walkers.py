"""Walkers that leave the support of the density, or whose energy is NaN."""

import math

import pytest
import torch
from helpers import normal
from moving_mixture import KEY, LOG_2PI, Mixture, walkers_of

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.objectives import Jarzynski


class Box(torch.nn.Module):
    """A standard normal between walls at ``|x_0| = width``, beyond which it is infinite."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        inside = self.scale * x.square().sum(1) / 2
        return torch.where(x[:, 0].abs() < self.width, inside, math.inf)

    @property
    def log_z(self):
        return LOG_2PI + math.log(math.erf(self.width / math.sqrt(2)))


@pytest.mark.parametrize("threshold", [0, 0.9])
@pytest.mark.parametrize("sampler", [eff.Langevin, eff.MALA])
@pytest.mark.parametrize("moved", [0, 1500])
def test_walkers_beyond_a_wall_weigh_nothing(sampler, moved, threshold):
    box = Box(2.0)
    x0 = normal(4000, 2, seed=5)
    log_density = -x0.double().square().sum(1) / 2 - LOG_2PI
    walkers = WeightedWalkers(
        sampler(box, step_size=0.2), x0, log_density, rng=KEY, moved=moved,
        resample_threshold=threshold,
    )  # fmt: skip
    objective = Jarzynski(box, walkers, langevin_steps=2)
    lost = 0
    for width in (1.8, 1.4, 1.4, 1.2, 1.0, 0.9):
        box.width = width
        objective.parameters_moved()
        lost = max(lost, int((walkers.log_weights == -math.inf).sum()))
        assert not walkers.log_weights.isnan().any()
        if sampler is eff.MALA:
            assert abs(walkers.log_z - box.log_z) < 4 * 2 / math.sqrt(1000)
        loss = objective.loss(x0[x0[:, 0].abs() < width], {}).value
        (gradient,) = torch.autograd.grad(loss, box.scale)
        assert loss.isfinite()
        assert gradient.isfinite()
    assert threshold > 0 or lost > 100
    assert walkers.state.x[:, 0].abs().max() < 0.9


def test_energies_that_are_nan_are_told():
    energy = Mixture(1)
    walkers = walkers_of(energy, 10, eff.Langevin(energy, step_size=0.1))
    energy.a.data[0, 0] = math.nan
    assert math.isnan(walkers.advance(1).ess)
    with pytest.raises(ValueError, match=r"log_weights: expected a finite maximum, got nan"):
        _ = walkers.state
