"""Numbers of NumPy, and arrays and tensors without axes, where Python's numbers go: the same bits.
What is no number is refused by the name of the argument."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import INF, assert_same_bits, normal

import effebm_ext as eff

KEY = eff.Key(17)
X, GRAD = normal(3, 8), normal(3, 8, seed=1)
INTEGERS = [np.int64, np.int8, np.uint8, np.array, torch.tensor]
NUMBERS = [np.float64, np.float32, np.float16, np.array, torch.tensor, Fraction,
           lambda value: np.array(value, dtype=np.float32)]  # fmt: skip

integers = pytest.mark.parametrize("as_given", INTEGERS, ids=lambda f: f.__name__)
numbers = pytest.mark.parametrize("as_given", NUMBERS, ids=lambda f: f.__name__)


def step(**options):
    return eff.langevin_step(X, GRAD, **{"step_size": 0.1, "rng": KEY, **options})


TAKES_A_NUMBER = {
    "step_size": lambda v: step(step_size=v),
    "step_size in place": lambda v: eff.langevin_step_(X.clone(), GRAD, v, rng=KEY),
    "step_size of float64": lambda v: eff.langevin_step(X.double(), GRAD.double(), v, rng=KEY),
    "step_size of a transition": lambda v: eff.langevin_transition(X, GRAD, v, rng=KEY).x,
    "noise_std": lambda v: step(noise_std=v),
    "radius": lambda v: eff.perturbed_pair(X, v, rng=KEY).x,
    "noise_std of a pair": lambda v: eff.perturbed_pair(X, 1, noise_std=v, rng=KEY).x,
    "clip by value": lambda v: step(clip=eff.ClipValue(v)),
    "clip by norm": lambda v: step(clip=eff.ClipNorm(v)),
    "lower bound": lambda v: step(bounds=(v, 1)),
    "upper bound": lambda v: step(bounds=(-1, v)),
    "bound of a list": lambda v: step(bounds=[-1, v]),
    "mirror": lambda v: step(bounds=eff.Reflect(-1, v)),
    "ratio": lambda v: step(compressor=eff.TopK(ratio=v)),
}
TAKES_AN_INTEGER = {
    "seed": lambda v: step(rng=eff.Key(v)),
    "offset": lambda v: step(rng=eff.Key(0, v)),
    "first_chain": lambda v: step(rng=eff.Key(0, 0, v)),
    "at": lambda v: step(rng=eff.Key(0, 300).at(v)),
    "k": lambda v: step(compressor=eff.TopK(v)),
    "k of topk_compress": lambda v: eff.topk_compress(X, v),
    "block_size": lambda v: step(compressor=eff.BlockSign(v)),
    "block_size of block_sign_compress": lambda v: eff.block_sign_compress(X, v),
    "block_offsets": lambda v: step(compressor=eff.BlockSign(block_offsets=[0, v, 8])),
    "step_size": lambda v: step(step_size=v),
}


@numbers
@pytest.mark.parametrize("call", TAKES_A_NUMBER.values(), ids=TAKES_A_NUMBER)
def test_numbers_of_every_kind_give_the_same_bits(call, as_given):
    assert_same_bits(call(as_given(0.5)), call(0.5))


@integers
@pytest.mark.parametrize("call", TAKES_AN_INTEGER.values(), ids=TAKES_AN_INTEGER)
def test_integers_of_every_kind_give_the_same_bits(call, as_given):
    assert_same_bits(call(as_given(3)), call(3))


@pytest.mark.parametrize("listed", [list, tuple, np.array, torch.tensor, range])
def test_block_offsets_may_be_any_sequence(listed):
    offsets = listed([0, 3, 8]) if listed is not range else range(0, 9, 4)
    compressor = eff.BlockSign(block_offsets=offsets)
    assert compressor == eff.BlockSign(block_offsets=[int(offset) for offset in offsets])
    assert all(type(offset) is int for offset in compressor.block_offsets)


def test_what_is_kept_is_a_number_of_python():
    key = eff.Key(np.int64(5), np.uint64(7), torch.tensor(3)).at(np.int8(100))
    assert repr(key) == "Key(seed=5, offset=107, first_chain=3)"
    assert repr(eff.BlockSign(np.prod([8, 8]))) == "BlockSign(block_size=64)"
    assert repr(eff.TopK(np.int64(2))) == "TopK(k=2)"
    assert repr(eff.TopK(ratio=np.float32(0.25))) == "TopK(ratio=0.25)"
    assert repr(eff.ClipValue(np.float32(0.5))) == "ClipValue(limit=0.5)"
    assert repr(eff.Reflect(np.array(-1.0), torch.tensor(2))) == "Reflect(lower=-1.0, upper=2.0)"


@pytest.mark.parametrize("numbers", [np.arange(3), torch.arange(3), range(3)])
def test_keys_advance_by_arrays_of_steps(numbers):
    assert [eff.Key(1).at(t).offset for t in numbers] == [0, 1, 2]


NO_NUMBERS = ["0.5", True, np.True_, 1j, [0.5], np.array([0.5]), torch.zeros(1, 1), None]
REFUSES = {
    "step_size": lambda v: step(step_size=v),
    "radius": lambda v: eff.perturbed_pair(X, v, rng=KEY),
    "limit": lambda v: eff.ClipNorm(v),
    "bounds": lambda v: step(bounds=(0.0, v)),
}


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", REFUSES)
def test_what_is_no_number_is_refused_by_name(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name}: expected "):
        REFUSES[name](value)


@pytest.mark.parametrize("value", [1.0, np.float32(1), "1", True, [1], torch.tensor(1.0)], ids=repr)
def test_what_is_no_integer_is_refused_by_name(value):
    calls = {
        "seed": lambda: eff.Key(value),
        "step": lambda: KEY.at(value),
        "k": lambda: eff.topk_compress(X, value),
        "block_size": lambda: eff.BlockSign(value),
        "block_offsets": lambda: eff.BlockSign(block_offsets=[0, value]),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"{name}: expected (an int|integers)"):
            call()


@pytest.mark.parametrize("value", [torch.tensor(True), torch.tensor(0.1 + 1j)], ids=str)
def test_tensors_of_other_than_real_numbers_are_refused(value):
    with pytest.raises(TypeError, match="step_size: expected a tensor of real numbers, got torch"):
        step(step_size=value)
    with pytest.raises(TypeError, match="noise_std: expected a tensor of real numbers, got torch"):
        step(noise_std=value)


@pytest.mark.parametrize("value", [10**400, np.float32(-1), np.float64(INF), np.array(-0.5)])
def test_numbers_out_of_range_are_refused_by_name(value):
    with pytest.raises(ValueError, match="step_size: expected a "):
        step(step_size=value)


def test_a_tensor_without_axes_is_not_read(monkeypatch):
    def read(tensor):
        raise AssertionError("a GPU would have been waited for")

    want = step(step_size=0.25, noise_std=0.5)
    for name in ("item", "tolist", "__float__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, read)
    got = step(step_size=torch.tensor(0.25), noise_std=torch.tensor(0.5))
    monkeypatch.undo()
    assert_same_bits(got, want)


@pytest.mark.parametrize("bounds", [(-INF, 0.5), (-0.5, INF), (-INF, INF), [np.array(-INF), 0.5]])
@pytest.mark.parametrize("kind", [tuple, lambda pair: eff.Reflect(*pair)], ids=["clamp", "mirror"])
def test_an_infinite_bound_is_none(kind, bounds):
    low, high = (float(bound) for bound in bounds)
    free = step()
    inside = (free >= low) & (free <= high)
    got = step(bounds=kind(bounds))
    assert torch.equal(got[inside], free[inside])
    assert got.min() >= low
    assert got.max() <= high


@pytest.mark.parametrize(
    "bounds",
    [(None, 1.0), (0.0, None), ("0", "1"), (torch.zeros(8), torch.ones(8)), (False, 1.0)],
    ids=str,
)
def test_bounds_that_are_no_two_numbers_say_what_to_write(bounds):
    expected = "bounds: expected two numbers, -inf or inf where there is no bound, got "
    with pytest.raises(TypeError, match=expected):
        step(bounds=bounds)
    with pytest.raises(TypeError, match=expected):
        eff.Reflect(*bounds)


@pytest.mark.parametrize("bounds", [np.array([0.0, 1.0]), torch.tensor([0.0, 1.0]), "ab", (1.0,)])
def test_bounds_of_another_form_are_refused(bounds):
    with pytest.raises(TypeError, match=r"bounds: expected \(lower, upper\), Reflect or None, got"):
        step(bounds=bounds)
