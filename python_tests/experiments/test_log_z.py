"""The targets of the study of log Z are what they say, and the study runs."""

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from effebm_ext.evaluation import AIS, Estimate
from experiments.log_z import __main__ as study
from experiments.log_z import targets


def log_sum_on_grid(energy, *sides):
    """``log`` of the integral of ``exp(-energy)``, by sums over the product of equal grids."""
    points = torch.cartesian_prod(*sides).view(-1, len(sides))
    cells = sum(math.log(float(side[1] - side[0])) for side in sides)
    return float(torch.logsumexp(-energy(points), 0)) + cells


def side(low, high, n):
    return torch.linspace(low, high, n, dtype=torch.float64)


def density(name, x):
    """The normalised log density, from another library."""
    normal = torch.distributions.Normal
    if name == "funnel, 10-d":
        v, rest = x[:, 0], x[:, 1:]
        given = normal(0.0, (v / 2).exp()[:, None]).log_prob(rest).sum(1)
        return normal(0.0, 3.0).log_prob(v) + given
    return torch.tensor(stats.multivariate_t(np.zeros(10), np.eye(10), df=3).logpdf(x))


@pytest.mark.parametrize("name", ["funnel, 10-d", "Student t, 10-d"])
def test_densities_are_those_of_other_libraries(name):
    target = targets.TARGETS[name]()
    x = target.sample(50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(-target.energy(x) - target.log_z, density(name, x))


def test_log_z_of_the_funnel_by_quadrature():
    target = targets.funnel(2)

    def straight(z):  # x = exp(v / 2) u
        v, u = z[:, 0], z[:, 1]
        return target.energy(torch.stack([v, (v / 2).exp() * u], 1)) - v / 2

    found = log_sum_on_grid(straight, side(-30, 30, 601), side(-9, 9, 181))
    assert found == pytest.approx(target.log_z, abs=1e-9)


def test_log_z_of_the_gaussians_by_quadrature():
    target = targets.gaussians()
    found = log_sum_on_grid(target.energy, side(-50, 50, 401), side(-50, 50, 401))
    assert found == pytest.approx(target.log_z, abs=1e-9)


def test_log_z_of_students_t_by_radial_quadrature():
    target = targets.student()
    sphere = math.log(2) + 5 * math.log(math.pi) - math.lgamma(5)

    def shell(u):  # the radius is exp(u)
        return target.energy(torch.nn.functional.pad(u.exp(), (0, 9))) - 10 * u[:, 0]

    found = log_sum_on_grid(shell, side(-20, 20, 2001))
    assert sphere + found == pytest.approx(target.log_z, abs=1e-9)


def test_log_z_of_many_wells_by_quadrature():
    one, many = targets.many_well(1), targets.many_well()
    found = log_sum_on_grid(one.energy, side(-4, 4, 401), side(-9, 9, 181))
    assert found == pytest.approx(one.log_z, abs=1e-9)
    assert many.log_z == pytest.approx(16 * found, abs=1e-8)
    x = many.sample(5, torch.Generator().manual_seed(0))
    pairs = x.view(5, 2, 16).transpose(1, 2).reshape(80, 2)
    torch.testing.assert_close(many.energy(x), one.energy(pairs).view(5, 16).sum(1))


def test_log_z_of_phi4_by_quadrature():
    ring = targets.phi4(sites=3)
    found = log_sum_on_grid(ring.energy, *[side(-3, 3, 101)] * 3)
    assert found == pytest.approx(ring.log_z, abs=1e-7)
    free = targets.phi4(coupling=0.0)
    alone = log_sum_on_grid(lambda x: (x.square() - 1).square().sum(1), side(-3, 3, 101))
    assert free.log_z == pytest.approx(16 * alone, abs=1e-7)
    assert targets.phi4().log_z == pytest.approx(targets.phi4(points=401).log_z, abs=1e-9)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_samples_obey_the_identities_of_their_density(name):
    """Integration by parts: the mean of the gradient is 0, and of ``x . gradient / d`` is 1."""
    target = targets.TARGETS[name]()
    x = target.sample(4000, torch.Generator().manual_seed(1)).requires_grad_()
    assert x.shape == (4000, target.dimensions)
    assert x.dtype == torch.float64
    (gradient,) = torch.autograd.grad(target.energy(x).sum(), x)
    x = x.detach()
    for values, want in (
        ((x * gradient).mean(1), 1),
        (gradient[:, 0], 0),
        (gradient[:, -1], 0),
    ):
        assert abs(float(values.mean()) - want) < 4 * float(values.std()) / 4000**0.5


def test_samples_of_wells_and_modes_have_their_shares():
    def within(x, share):
        return abs(float(x.double().mean()) - share) < 4 * math.sqrt(share * (1 - share) / len(x))

    generator = torch.Generator().manual_seed(2)
    grid = np.linspace(-4, 4, 4001)
    weight = np.exp(-(grid**4 - 6 * grid**2 - grid / 2))
    a = targets.many_well().sample(500, generator)[:, :16].flatten()
    assert within(a > 0, weight[grid > 0].sum() / weight.sum())
    x = targets.gaussians().sample(4000, generator)
    plane = torch.cartesian_prod(side(-50.125, 50.125, 402), side(-50, 50, 401))
    mass = (-targets.gaussians().energy(plane)).softmax(0)
    assert within(x[:, 0] > 0, float(mass[plane[:, 0] > 0].sum()))


def test_neighbours_of_phi4_are_as_close_as_on_the_grid():
    ring = targets.phi4(sites=3)
    points = torch.cartesian_prod(*[side(-3, 3, 101)] * 3)
    weights = (-ring.energy(points)).softmax(0)
    x = ring.sample(4000, torch.Generator().manual_seed(3))
    for i, j in itertools.combinations(range(3), 2):
        want = float((weights * points[:, i] * points[:, j]).sum())
        products = x[:, i] * x[:, j]
        assert abs(float(products.mean()) - want) < 4 * float(products.std()) / 4000**0.5


def run(forward, reverse, bennett):
    made_up = [Estimate(value, 0.5) for value in (forward, reverse, bennett)]
    return AIS(*made_up, 1.0, 1.0, 0.6, torch.zeros(1))


def test_errors_are_paired_by_repeats():
    found = study.figures([run(1.0, 4.0, 2.0), run(2.0, 3.0, 3.0)], 2.0)
    assert found["rms"] == pytest.approx(
        {"forward": 0.5**0.5, "reverse": 2.5**0.5, "middle": 0.5, "Bennett": 0.5**0.5}
    )
    assert found["mean"]["reverse"] == pytest.approx(1.5)
    assert found["squares_below_middle"] == pytest.approx([-0.25, 0.5])
    assert found["stated_by_bennett"] == pytest.approx(0.5)


def test_a_quick_run_leaves_all_figures(tmp_path):
    done = CliRunner().invoke(study.main, ["--quick", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "results.json").read_text())
    kinds = [(row["target"], row["n_steps"]) for row in found["rows"]]
    assert kinds == list(itertools.product(targets.TARGETS, study.QUICK.n_steps))
    assert found["environment"]["threads"] >= 1
    for row in found["rows"]:
        assert row["rms"].keys() == set(study.ESTIMATES)
        assert min(row["rms"].values()) > 0
    for text in (*targets.TARGETS, *study.ESTIMATES, "±"):
        assert text in done.output
