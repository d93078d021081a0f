"""metropolis_: each chain takes its proposal or stays, by the exponential of the contract."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, assert_same_bits, expected, named, normal

import effebm_ext as eff
from effebm_ext.ops.metropolis import exp_reference, metropolis_, metropolis_reference

KEY = eff.Key(-1, 2**40 + 5, 7)


def problem(n, *event, dtype=torch.float32, energy_dtype=torch.float32, device="cpu"):
    """Every eighth chain has a special log ratio, and every eighth a special energy."""
    log_ratio = normal(n, seed=1, dtype=torch.float64)
    energy, new_energy = (normal(n, seed=seed, dtype=torch.float64) for seed in (2, 3))
    special = torch.tensor([INF, -INF, NAN, -1e-310, -745.0, -700.5], dtype=torch.float64)
    log_ratio[::8] = special.repeat(n)[: len(log_ratio[::8])]
    new_energy[4::8] = special.repeat(n)[: len(new_energy[4::8])]
    energy, new_energy = energy.to(energy_dtype), new_energy.to(energy_dtype)
    rows = [normal(n, *event, seed=seed, dtype=dtype) for seed in (4, 5, 6, 7)]
    return [t.to(device) for t in (log_ratio, energy, new_energy, *rows)]


def after(given, key=KEY):
    """x, drift, energies and probabilities after the step."""
    energy, probability = metropolis_(*given, key)
    return *given[5:7], energy, probability


def check_like_the_reference(given, key=KEY):
    want = expected(metropolis_reference, *given, key)
    for got, wanted in zip(after(given, key), want, strict=True):
        assert_same_bits(got, wanted)


@pytest.mark.parametrize("n", [0, 1, 2, 300])
@pytest.mark.parametrize("event", [(), (1,), (3,), (2, 4), (0,), (1030,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chains_after_the_step_equal_the_reference(device, n, event, dtype):
    given = problem(n, *event, dtype=dtype, device=device)
    check_like_the_reference(given)
    assert given[5].device == device


@pytest.mark.parametrize("energy_dtype", DTYPES)
@pytest.mark.parametrize("key", [eff.Key(1), eff.Key(2**64 - 1, 2**56 - 1, 2**32 - 300)], ids=str)
def test_energies_of_every_dtype_and_keys(device, energy_dtype, key):
    given = problem(300, 5, energy_dtype=energy_dtype, device=device)
    check_like_the_reference(given, key)


def test_energies_of_two_dtypes_are_widened(device):
    given = problem(40, 5, energy_dtype=torch.bfloat16, device=device)
    wide = [t.clone() for t in given]
    wide[2], given[2] = wide[2].float(), given[2].float()
    wide[1] = wide[1].float()
    energy, _ = metropolis_(*given, KEY)
    assert_same_bits(energy, metropolis_(*wide, KEY)[0])


def test_old_chains_stay_and_some_are_taken(device):
    given = problem(300, 5, device=device)
    before = [t.clone() for t in given]
    x, _, energy, probability = (t.cpu() for t in after(given))
    for now, then in zip(given[:5], before[:5], strict=True):
        assert_same_bits(now, then)
    taken = (x == before[5].cpu()).all(1)
    assert 100 < int(taken.sum()) < 250
    assert bool((x[~taken] == before[3].cpu()[~taken]).all())
    assert bool(energy.isfinite().all())
    assert bool(((probability >= 0) & (probability <= 1)).all())
    bad = before[0].cpu().isnan() | ~before[2].cpu().isfinite()
    assert bool((probability[bad] == 0).all())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_change_no_bit(device, layout):
    given = problem(37, 5, 3, device=device)
    other = [LAYOUTS[layout](t) for t in given]
    for got, want in zip(after(other), after(given), strict=True):
        assert_same_bits(got, want)


def test_a_part_of_the_chains_is_as_in_the_whole(device):
    given = problem(300, 5, device=device)
    part = [t[100:180].clone() for t in given]
    got = after(part, dataclasses.replace(KEY, first_chain=107))
    for one, whole in zip(got, after(given), strict=True):
        assert_same_bits(one, whole[100:180])


def test_the_exponential_is_within_an_ulp():
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(200_000, generator=generator, dtype=torch.float64)
    for x in (-u, -750 * u, -745.2 + 40 * u, -(2.0 ** (70 * u - 60))):
        got, exact = exp_reference(x).numpy(), np.exp(x.numpy().astype(np.longdouble))
        error = np.abs(got.astype(np.longdouble) - exact) / np.spacing(exact.astype(np.float64))
        assert float(error.max()) < 1
    ends = torch.tensor([0.0, -0.0, -745.13, -745.14, -746.0, -1e308, -INF], dtype=torch.float64)
    assert exp_reference(ends).tolist() == [1, 1, 5e-324, 0, 0, 0, 0]


def test_the_exponential_never_falls():
    x = torch.linspace(-40, 0, 400_001, dtype=torch.float64)
    assert bool((exp_reference(x).diff() >= 0).all())
    assert float(exp_reference(torch.tensor([-1.0]).double())) == math.exp(-1)


@pytest.mark.parametrize(
    ("changed", "make", "message"),
    [
        (0, lambda t: t.float(), "log_ratio: expected Double, got Float"),
        (0, lambda t: t[:2], r"log_ratio: expected shape \(3,\), got \(2,\)"),
        (1, lambda t: t[:2], r"energy: expected shape \(3,\), got \(2,\)"),
        (1, lambda t: t.long(), r"expected float32, float64, .* got Long"),
        (2, lambda t: t[:2], r"new_energy: expected shape \(3,\), got \(2,\)"),
        (3, lambda t: t.bfloat16(), "x: expected float32 or float64, got BFloat16"),
        (3, lambda t: t[0, 0], r"expected a tensor of shape \(n_chains, \*event\)"),
        (4, lambda t: t.double(), "drift: expected Float, got Double"),
        (4, lambda t: t[:, :2], "drift: expected the shape of x"),
        (5, lambda t: t.flatten(), "new_x: expected the shape of x"),
        (5, lambda t: t[:1].expand_as(t), "new_x: expected a tensor of its own"),
        (6, lambda t: t.half(), "new_drift: expected Float, got Half"),
        (7, lambda t: t[:1], r"key: expected int64\[2\]"),
        (9, lambda n: 2**32, "first_chain: expected chains below"),
    ],
    ids=named,
)
def test_what_the_raw_op_refuses(changed, make, message):
    given = [*problem(3, 4), torch.tensor([3, 0]), 5, 7]
    given[changed] = make(given[changed])
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.metropolis_(*given)


@pytest.mark.parametrize(("a", "b"), [(5, 4), (6, 3), (6, 5)])
def test_what_is_written_overlaps_nothing_else(a, b):
    given = problem(3, 4)
    given[a] = given[b]
    with pytest.raises(RuntimeError, match="expected tensors that do not overlap in memory"):
        metropolis_(*given, KEY)


def test_chains_past_the_last_are_refused():
    with pytest.raises(ValueError, match=r"rng: expected chains below 2\*\*32"):
        metropolis_(*problem(3, 4), eff.Key(0, 0, 2**32 - 2))


def test_derivatives_vmap_and_negated_views_are_refused():
    given = problem(3, 4)
    with pytest.raises(RuntimeError, match="metropolis_ is not differentiable"):
        metropolis_(*given[:3], given[3].requires_grad_(), *given[4:], KEY)
    log_ratio, *rest = problem(3, 4)
    with pytest.raises(RuntimeError, match="metropolis_ under vmap"):
        torch.vmap(lambda v: metropolis_(v, *rest, KEY))(log_ratio.expand(2, 3))
    rest[4] = torch.zeros(3, 4, dtype=torch.complex64).conj().imag
    with pytest.raises(ValueError, match="new_x: expected a tensor that can be written"):
        metropolis_(log_ratio, *rest, KEY)


def test_the_op_follows_the_rules_of_torch():
    given = (*problem(11, 4), torch.tensor([3, 0]), 5, 7)
    torch.library.opcheck(torch.ops.effebm.metropolis_.default, given)


def test_a_compiled_function_makes_the_same_step():
    given, other = problem(9, 4), problem(9, 4)
    compiled = torch.compile(after, fullgraph=True, backend="aot_eager")
    for got, want in zip(compiled(given), after(other), strict=True):
        assert_same_bits(got, want)
