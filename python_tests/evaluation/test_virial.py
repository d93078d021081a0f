"""The virial is 1 for samples of an energy, and tells of chains that are none."""

import math

import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.energies import energy_and_gradient
from effebm_ext.evaluation import virial


def tent(x):
    return x.abs().sum(1)


def test_the_virial_is_the_mean_of_products():
    x, gradient, centre = (
        normal(*shape, seed=sum(shape), dtype=torch.float64)
        for shape in ((5, 2, 3), (5, 2, 3), (2, 3))
    )
    gradient = gradient.flip(0)
    products = ((x - centre) * gradient).sum((1, 2)) / 6
    got = virial(x, gradient, centre=centre)
    assert got.value == pytest.approx(float(products.mean()), rel=1e-12)
    assert got.error == pytest.approx(float(products.std()) / math.sqrt(5), rel=1e-12)
    own = virial(x, gradient)
    assert own.value == pytest.approx(
        5 / 4 * virial(x, gradient, centre=x.mean(0)).value, rel=1e-12
    )


@pytest.mark.parametrize("centre", [None, torch.zeros(8), torch.full((8,), 3.0)])
@pytest.mark.parametrize("n", [3, 400])
def test_samples_have_a_virial_of_one_around_every_constant(n, centre):
    """Over 20,000 samples, in sets of n. A factor of (n - 1) / n would be seen for n = 3."""
    x = 3 + 2 * normal(20_000 // n, n, 8, seed=n)
    values = torch.tensor([virial(part, (part - 3) / 4, centre=centre).value for part in x])
    assert abs(values.mean() - 1) < 3 * values.std() / math.sqrt(len(values)) < 0.1


def test_the_error_is_that_of_the_mean():
    found = [virial(x, x / 1.25) for x in 1.25**0.5 * normal(200, 60, 8, seed=4)]
    values = torch.tensor([f.value for f in found])
    errors = torch.tensor([f.error for f in found])
    assert errors.mean() == pytest.approx(float(values.std()), rel=0.15)


def test_an_offset_of_the_centre_only_adds_noise():
    x = 10 + normal(500, 4, seed=5)
    assert virial(x, x - 10).error < virial(x, x - 10, centre=torch.zeros(4)).error / 5


@pytest.mark.parametrize("width", [0.8, 1.25])
def test_chains_that_are_too_wide_or_narrow_are_seen(width):
    x = normal(2000, 4, seed=6) * math.sqrt(width)
    got = virial(x, x)
    assert abs(got.value - width) < 3 * got.error < abs(width - 1)


def test_a_sampler_finds_the_virial_of_its_last_step():
    centre = torch.tensor([0.5, -1.0, 2.0])
    options = {"step_size": 0.1, "statistics": True, "temperature": 0.5, "clip": eff.ClipValue(0.1)}
    sampler = eff.Langevin(tent, virial_centre=centre, **options)
    state = sampler.init(normal(6, 3), rng=eff.Key(0))
    sampler.advance_(state, 4)
    before = state.x.clone()
    info = sampler.advance_(state)
    gradient = energy_and_gradient(tent, before)[1]
    want = virial(before, gradient, centre=centre)
    assert info.virial.shape == (6,)
    assert float(info.virial.mean()) == pytest.approx(want.value / 0.5, rel=1e-5)
    run = sampler.run(before, 6, thin=2, rng=eff.Key(1))
    assert run.info.virial.shape == (3, 6)
    for off in ({"statistics": False}, {"temperature": 0.0}):
        assert eff.Langevin(tent, **{**options, **off}).run(before, 1).info.virial is None


def test_a_sampler_finds_the_virial_of_compressed_chains():
    """N(0, I) under Top-k of a tenth without feedback: the variance is 3.5."""
    sampler = eff.Langevin(
        lambda x: x.square().sum(1) / 2,
        step_size=0.05, compressor=eff.TopK(ratio=0.1), statistics=True,
    )  # fmt: skip
    state = sampler.init(1.85 * normal(200, 100), rng=eff.Key(0))
    info = sampler.advance_(state, 200)
    assert float(info.virial.mean()) == pytest.approx(float(state.x.square().mean()), rel=0.02)
    assert info.virial.mean() > 3


@pytest.mark.parametrize(
    ("x", "gradient", "centre", "message"),
    [
        (normal(1, 3), normal(1, 3), None, r"x: expected shape \(n, \*event\), n >= 2, got \(1, 3"),
        (normal(0, 3), normal(0, 3), normal(3), r"n >= 1, got \(0, 3\)"),
        (normal(4, 3), normal(4, 2), None, r"gradient: expected the shape of x, \(4, 3\), got"),
        (normal(4, 3), normal(4, 3), normal(4, 3), r"centre: expected the shape of a chain, \(3,"),
    ],
)
def test_bad_shapes_are_refused(x, gradient, centre, message):
    with pytest.raises(ValueError, match=message):
        virial(x, gradient, centre=centre)
    if len(x) == 1:
        assert virial(x, gradient, centre=torch.zeros(3)).error == math.inf
