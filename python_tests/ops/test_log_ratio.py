"""log_ratio: the logarithm of the ratio that makes a Langevin step exact."""

import itertools

import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, assert_same_bits, expected, normal

from effebm_ext.ops.log_ratio import log_ratio, log_ratio_reference


def arguments(n, dtype=torch.float32, sums_dtype=torch.float32, device="cpu"):
    energies = (normal(n, seed=seed, dtype=dtype, device=device) for seed in (1, 2))
    sums = (normal(n, 2, seed=seed, dtype=sums_dtype, device=device) for seed in (3, 4))
    return *energies, *sums, 0.3


@pytest.mark.parametrize("n", [0, 1, 2, 300])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sums_dtype", [torch.float32, torch.float64])
def test_every_ratio_equals_the_reference(device, n, dtype, sums_dtype):
    given = arguments(n, dtype, sums_dtype, device)
    got = log_ratio(*given)
    assert got.device == device
    assert_same_bits(got, expected(log_ratio_reference, *given))


def test_a_known_ratio(device):
    e, new_e = (torch.tensor([v], device=device) for v in (5.0, 3.0))
    on, back = (torch.tensor([v], device=device) for v in ([1.0, 8.0], [2.0, 4.0]))
    assert float(log_ratio(e, new_e, on, back, 0.5).cpu()) == 2 + 1.5 + 0.0625 * 4


def test_special_values(device):
    special = [0.0, 1e-40, 3e38, INF, -INF, NAN]
    rows = torch.tensor(list(itertools.product(special, repeat=4)), device=device)
    e, new_e, dot, square = rows.unbind(1)
    sums = torch.stack([dot, square], 1)
    got = log_ratio(e, new_e, sums, sums.flip(0), 1.0)
    assert_same_bits(got, expected(log_ratio_reference, e, new_e, sums, sums.flip(0), 1.0))
    got, new_e = got.cpu(), new_e.cpu()
    assert bool((got[new_e == INF] == -INF).all())
    assert bool(got[new_e.isnan()].isnan().all())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_change_no_bit(device, layout):
    given = arguments(37, device=device)
    other = [LAYOUTS[layout](t) for t in given[:4]]
    assert_same_bits(log_ratio(*other, 0.3), log_ratio(*given))


def test_energies_of_two_dtypes_are_widened(device):
    e, new_e, *rest = arguments(9, device=device)
    for short in (torch.bfloat16, torch.float16):
        got = log_ratio(e.to(short), new_e, *rest)
        assert_same_bits(got, log_ratio(e.to(short).float(), new_e, *rest))


@pytest.mark.parametrize(
    ("changed", "value", "message"),
    [
        (0, torch.zeros(3, 1), r"energy: expected shape \(n_chains,\), got \(3, 1\)"),
        (0, torch.zeros(3, dtype=torch.int64), r"expected float32, float64, .* got Long"),
        (1, torch.zeros(4), r"new_energy: expected shape \(3,\), got \(4,\)"),
        (1, torch.zeros(3).double(), r"new_energy: expected Float, got Double"),
        (2, torch.zeros(3, 2).half(), r"sums: expected float32 or float64, got Half"),
        (2, torch.zeros(2, 2), r"sums: expected shape \(3, 2\), got \(2, 2\)"),
        (3, torch.zeros(3, 3), r"back_sums: expected shape \(3, 2\), got \(3, 3\)"),
        (3, torch.zeros(3), r"back_sums: expected shape \(3, 2\), got \(3,\)"),
        (3, torch.zeros(3, 2).double(), r"back_sums: expected Float, got Double"),
    ],
)
def test_what_the_raw_op_refuses(changed, value, message):
    given = list(arguments(3))
    given[changed] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.log_ratio(*given)


def test_derivatives_and_vmap_are_refused():
    e, *rest = arguments(3)
    with pytest.raises(RuntimeError, match="log_ratio is not differentiable"):
        log_ratio(e.requires_grad_(), *rest)
    e, new_e, on, back, step_size = arguments(3)
    with pytest.raises(RuntimeError, match="log_ratio under vmap"):
        torch.vmap(lambda v: log_ratio(v, new_e, on, back, step_size))(e.expand(2, 3))


def test_the_op_follows_the_rules_of_torch():
    torch.library.opcheck(torch.ops.effebm.log_ratio.default, arguments(5))


def test_a_compiled_function_gives_the_same_ratios():
    given = arguments(5)
    compiled = torch.compile(log_ratio, fullgraph=True, backend="aot_eager")
    assert_same_bits(compiled(*given), log_ratio(*given))
