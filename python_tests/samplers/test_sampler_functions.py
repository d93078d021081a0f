"""The scores, energies and compressors of samplers: under autocast, with autograd, in few bits."""

import math
import warnings

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.energies import class_energy, energies_at, energy_and_gradient, score_of
from effebm_ext.evaluation import annealed_importance_sampling
from effebm_ext.networks import MLPEnergy

KEY = eff.Key(2)
START = normal(4, 6)


def energy(x):
    return (x**4 / 4 + x.roll(1, dims=-1) * x).flatten(1).sum(1)


def net_of(*sizes):
    torch.manual_seed(0)
    return torch.nn.Linear(*sizes)


def test_scores_under_autocast_are_cast_to_the_dtype_of_the_state():
    net = net_of(6, 6)
    sampler = eff.Langevin(score=net, step_size=0.1)

    def by_hand(x):
        with torch.autocast("cpu", torch.bfloat16):
            score = net(x)
        assert score.dtype == torch.bfloat16
        return score.to(x.dtype)

    want = eff.Langevin(score=by_hand, step_size=0.1).sample(START, 3, rng=KEY)
    with torch.autocast("cpu", torch.bfloat16):
        got = sampler.sample(START, 3, rng=KEY)
    assert_same_bits(got, want)
    assert not torch.equal(got, sampler.sample(START, 3, rng=KEY))
    double = eff.Langevin(score=lambda x: -x.double(), step_size=0.1)
    assert double.sample(START, 2, rng=KEY).dtype == torch.float32


@pytest.mark.parametrize("kind", ["run", "packed", "MALA"])
def test_compressors_under_autocast_keep_the_dtype_of_what_they_get(kind):
    weight = torch.eye(6) / 2

    def halved(u):
        return u @ weight

    def by_hand(u):
        with torch.autocast("cpu", torch.bfloat16):
            return halved(u).to(u.dtype)

    def run(compressor):
        if kind == "MALA":
            return eff.MALA(energy, step_size=0.1, compressor=compressor).sample(START, 3, rng=KEY)
        options = {"error_feedback": True} if kind == "run" else {}
        sampler = eff.Langevin(energy, step_size=0.1, compressor=compressor, **options)
        return sampler.sample(START, 3, rng=KEY)

    want = run(by_hand)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(halved)
    assert_same_bits(got, want)


def test_a_score_may_use_autograd_for_itself():
    net = MLPEnergy((6,), width=8, depth=1)

    def score(x):
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(net(x).sum(), x)[0]

    def of_the_tensor_itself(x):
        return -torch.autograd.grad(net(x.requires_grad_()).sum(), x)[0]

    def of_what_it_is_given(x):
        return -torch.autograd.grad(net(x).sum(), x)[0]

    want = eff.Langevin(net, step_size=0.1).sample(START, 4, rng=KEY)
    for given in (score, of_the_tensor_itself, of_what_it_is_given, score_of(net)):
        sampler = eff.Langevin(score=given, step_size=0.1)
        state = sampler.init(START, rng=KEY)
        sampler.advance_(state, 2)
        with torch.no_grad():
            sampler.advance_(state, 1)
        with torch.inference_mode():
            sampler.advance_(state, 1)
        assert_same_bits(state.x, want)
        assert not state.x.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_functions_that_write_into_their_argument_are_refused():
    def score(x):
        return -x.div_(2) / 2

    message = "x: expected an energy or a score that leaves its argument as it is"
    with pytest.raises(ValueError, match=message):
        eff.Langevin(score=score, step_size=0.1).sample(START, 1)
    with pytest.raises(ValueError, match=message):
        energies_at(lambda x: x.mul_(2).sum(1), START)


def test_a_score_that_needs_no_graph_gets_none():
    seen = []

    def score(x):
        seen.append((torch.is_grad_enabled(), x.requires_grad))
        return torch.from_numpy(-x.numpy())  # as of another library

    eff.Langevin(score=score, step_size=0.1).sample(START, 2)
    assert seen == [(False, False)] * 2


def test_errors_of_a_score_are_its_own():
    def broken(x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        eff.Langevin(score=broken, step_size=0.1).sample(START, 1)


def test_an_energy_may_use_autograd_for_itself():
    net = MLPEnergy((6,), width=8, depth=1)

    def squared_slope(x):
        x = x if x.requires_grad else x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        return slope.square().sum(1) + x.square().sum(1) / 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = eff.Langevin(squared_slope, step_size=0.1)
        assert sampler.sample(START, 2, rng=KEY).isfinite().all()
        walkers = WeightedWalkers(sampler, START, torch.zeros(4), moved=1, rng=KEY)
        walkers.advance(2)
    want = energy_and_gradient(squared_slope, walkers.walkers.x)[0]
    assert_same_bits(walkers.walkers.energy, want)


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        (lambda x: x[:, :1], ValueError, r"score: expected the shape of x, \(4, 6\), got \(4, 1\)"),
        (lambda x: x.T, ValueError, r"score: expected the shape of x, \(4, 6\), got \(6, 4\)"),
        (lambda x: x.sum(1), ValueError, r"score: expected the shape of x, .* got \(4,\)"),
        (lambda x: None, TypeError, "score: expected a floating-point tensor, got NoneType"),
        (lambda x: (x,), TypeError, "score: expected a floating-point tensor, got tuple"),
        (
            lambda x: x.int(),
            TypeError,
            r"score: expected a floating-point tensor, got torch\.int32",
        ),
    ],
)
def test_scores_of_another_shape_or_kind_are_refused(score, error, message):
    with pytest.raises(error, match=message):
        eff.Langevin(score=score, step_size=0.1).sample(START, 1)


@pytest.mark.parametrize("value", [None, 1.0, (), [], {}], ids=repr)
def test_an_energy_that_is_no_tensor_is_refused(value):
    for sampler in (
        eff.Langevin(lambda x: value, step_size=0.1),
        eff.MALA(lambda x: value, step_size=0.1),
    ):
        with pytest.raises(TypeError) as caught:
            sampler.sample(START, 1)
        kind = type(value).__name__
        assert str(caught.value) == f"energy: expected a floating-point tensor, got {kind}"


def test_labels_out_of_range_are_refused_by_name():
    sampler = eff.Langevin(lambda x, y: class_energy(x[:, :3], y), step_size=0.1)
    with pytest.raises(RuntimeError, match=r"y: expected labels 0 to 2, got .* is -1, .* 7"):
        sampler.sample(START, 1, energy_kwargs={"y": torch.tensor([0, 7, -1, 1])})


# Rounding


def offset(constant, dtype):
    return lambda x: (x.square().sum(1) / 2 + constant).to(dtype)


def ais(energy, dtype=torch.float32):
    """Of N(0, I) in three dimensions, from N(0, 4 I)."""
    generator = torch.Generator().manual_seed(0)
    base = torch.zeros(3, dtype=dtype), torch.full((3,), 2.0, dtype=dtype)
    return annealed_importance_sampling(
        energy, normal(50, 3, dtype=dtype), base, n_steps=20, n_chains=50, generator=generator
    )


CASES = {
    "bfloat16": (1000.0, torch.bfloat16, True),
    "float16": (1000.0, torch.float16, True),
    "float32": (1e8, torch.float32, True),
    "float64": (1e8, torch.float64, False),
    "small float32": (1000.0, torch.float32, False),
    "small bfloat16": (0.0, torch.bfloat16, False),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("use", ["MALA", "AIS", "walkers"])
def test_rounding_that_decides_is_warned_of_once(case, use):
    constant, dtype, rounded = CASES[case]

    def run():
        given, x0 = offset(constant, dtype), normal(50, 3)
        if use == "AIS":
            ais(given)
            return
        if use == "MALA":
            sampler = eff.MALA(given, step_size=0.5)
            state = sampler.init(x0, rng=KEY)
            for _ in range(3):
                sampler.advance_(state, 2)
            return
        walkers = WeightedWalkers(eff.Langevin(given, step_size=0.1), x0, torch.zeros(50), rng=KEY)
        for _ in range(3):
            walkers.advance(2)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run()
    assert len(seen) == rounded
    for warning in seen:
        assert f"in {dtype} are rounded to about" in str(warning.message)
        assert warning.filename == __file__


def test_the_wider_dtype_that_the_warning_asks_for_is_right():
    sampler = eff.MALA(lambda x: offset(1e8, torch.float64)(x.double()), step_size=0.5)
    state = sampler.init(normal(2000, 3), rng=KEY)
    acceptance = float(sampler.advance_(state, 20).acceptance.mean())
    plain = eff.MALA(offset(0.0, torch.float32), step_size=0.5)
    state = plain.init(normal(2000, 3), rng=KEY)
    wanted = float(plain.advance_(state, 20).acceptance.mean())
    assert acceptance == pytest.approx(wanted, abs=1e-3)
    found = ais(lambda x: offset(1e8, torch.float64)(x.double())).forward
    log_z = 1.5 * math.log(2 * math.pi) - 1e8
    assert found.value == pytest.approx(log_z, abs=5 * found.error + 1e-6)
