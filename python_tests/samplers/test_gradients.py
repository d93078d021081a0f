"""Energies and gradients, compiled or in a shorter arithmetic: values, errors, fall-backs."""

import copy
import functools
import pickle
import warnings

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext import gradients
from effebm_ext.energies import energy_and_gradient
from effebm_ext.gradients import EnergyGradient
from effebm_ext.networks import ConvEnergy, MLPEnergy

KEY = eff.Key(3)
X = normal(6, 2)


@pytest.fixture
def traced(monkeypatch):
    """torch.compile makes graphs, and no machine code from them; the graphs it made."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    compiler = functools.partial(torch.compile, backend=backend)
    monkeypatch.setattr(gradients.torch, "compile", compiler)
    return graphs


def network(n_classes=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLPEnergy((2,), width=16, depth=2, n_classes=n_classes)


def quiet(function, *arguments):
    """The result, and no warning of the library."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return function(*arguments)


def test_a_compiled_energy_has_its_values_after_training_too(traced):
    energy = network(n_classes=3)
    kwargs = {"y": torch.arange(6) % 3}
    gradient = EnergyGradient(energy, compile=True, dtype=None)
    for _ in range(2):
        got, want = quiet(gradient, X, kwargs), energy_and_gradient(energy, X, kwargs)
        torch.testing.assert_close(got, want)
        assert not any(t.requires_grad for t in got)
        with torch.no_grad():
            for p in energy.parameters():
                p.mul_(1.5)
    assert gradient.taken == "compiled"
    assert len(traced) == 1
    assert all(p.grad is None for p in energy.parameters())


def test_inductor_compiles_a_network():
    energy = network()
    got = quiet(EnergyGradient(energy, compile=True, dtype=None), X)
    torch.testing.assert_close(got, energy_and_gradient(energy, X))


def test_the_graph_asks_for_no_gradient_of_a_parameter(traced):
    linear = torch.nn.Linear(2, 1)
    EnergyGradient(linear, compile=True, dtype=None)(X)
    shapes = [getattr(n.meta.get("example_value"), "shape", None) for n in traced[0].graph.nodes]
    assert linear.weight.shape in shapes  # it is an input,
    outputs = next(n for n in traced[0].graph.nodes if n.op == "output").args[0]
    found = sorted(tuple(o.meta["example_value"].shape) for o in outputs)
    assert found == [(6,), (6, 2)]  # and only energies and the gradient by x come out


def test_every_energy_has_graphs_of_its_own(traced):
    for _ in range(20):  # more than torch keeps of one function
        energy = network()
        gradient = EnergyGradient(energy, compile=True, dtype=None)
        quiet(gradient, X)
        assert gradient.taken == "compiled"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_compiled_energy_under_every_mode(traced, mode):
    energy = network()
    with mode():
        got = quiet(EnergyGradient(energy, compile=True, dtype=None), X.clone())
    torch.testing.assert_close([t.clone() for t in got], list(energy_and_gradient(energy, X)))


def talking(x):
    print("a graph cannot print")
    return x.square().sum(1)


def test_an_energy_that_cannot_be_compiled_is_evaluated_without():
    gradient = EnergyGradient(talking, compile=True, dtype=None)
    with pytest.warns(RuntimeWarning, match="compile: the energy is evaluated without, .*: Fail"):
        got = gradient(X)
    assert_same_bits(got[1], 2 * X)
    assert gradient.taken == "eager"
    quiet(gradient, X)  # says it once


def test_the_errors_of_a_compiled_energy_are_its_own(traced):
    for energy, message in (
        (lambda x: x, r"energy: expected one value per chain"),
        (lambda x: x @ torch.ones(3), "size mismatch|shape"),
        (lambda x: torch.zeros(len(x)), "does not require grad"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=message):
            EnergyGradient(energy, compile=True, dtype=None)(X)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_shorter_arithmetic_is_that_of_autocast(traced, compiled, dtype):
    energy = network()
    with torch.autocast("cpu", dtype=dtype):
        want = energy_and_gradient(energy, X)
    got = EnergyGradient(energy, compile=compiled, dtype=dtype)(X)
    assert got[0].dtype == dtype
    assert got[1].dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0.02, atol=2e-3)
    exact = energy_and_gradient(energy, X)
    assert not torch.equal(got[1], exact[1])
    torch.testing.assert_close(got[1], exact[1], rtol=0.1, atol=0.01)


@pytest.mark.parametrize("compiled", [False, True])
def test_ratios_get_energies_in_full(traced, compiled):
    energy = network()
    gradient = EnergyGradient(energy, compile=compiled, dtype=torch.bfloat16, exact_energies=True)
    got, want = gradient(X), energy_and_gradient(energy, X)
    torch.testing.assert_close(got[0], want[0])
    assert not torch.equal(got[1], want[1])


def test_samplers_compile_and_stay_what_they_are(traced):
    energy = network()
    for make in (eff.Langevin, eff.MALA):
        plain, fast = (make(energy, step_size=0.1, compile=c) for c in (False, True))
        want = plain.sample(X, 5, rng=KEY)
        for sampler in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            torch.testing.assert_close(sampler.sample(X, 5, rng=KEY), want)
            assert sampler.gradient.taken == "compiled"
        assert "compile=True" in repr(fast)


def test_shards_share_a_compiled_energy(traced):
    energy = ConvEnergy((1, 8, 8))
    x = normal(8, 1, 8, 8)
    sampler = eff.Langevin(energy, step_size=0.1, compile=True, shards=2)
    got = quiet(lambda: sampler.sample(x, 4, rng=KEY))
    want = eff.Langevin(energy, step_size=0.1).sample(x, 4, rng=KEY)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_mala_is_exact_with_a_short_gradient():
    def gaussian(x):
        return torch.nn.functional.linear(x.square(), torch.full((1, 4), 0.5))

    sampler = eff.MALA(gaussian, step_size=1.0, gradient_dtype=torch.bfloat16)
    state = sampler.init(normal(20_000, 4), rng=KEY)
    info = sampler.advance_(state, 20)
    assert info.energy.dtype == torch.float32
    assert 0.3 < float(info.acceptance.mean()) < 0.99
    error = (2 / state.x.numel()) ** 0.5
    assert float(state.x.var()) == pytest.approx(1, abs=4 * error)


@pytest.mark.parametrize("make", [eff.Langevin, eff.MALA])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"compile": 1}, TypeError, "compile: expected True or False, got 1"),
        ({"gradient_dtype": "bfloat16"}, TypeError, "gradient_dtype: expected a torch.dtype"),
        ({"gradient_dtype": torch.int8}, ValueError, "gradient_dtype: expected torch.bfloat16"),
        ({"gradient_dtype": torch.float64}, ValueError, "gradient_dtype: expected torch.bfloat16"),
    ],
)
def test_what_is_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        make(talking, step_size=0.1, **options)


def test_a_score_is_compiled_by_its_caller():
    for options in ({"compile": True}, {"gradient_dtype": torch.bfloat16}):
        with pytest.raises(ValueError, match="score: expected an energy with compile"):
            eff.Langevin(score=lambda x: -x, step_size=0.1, **options)
