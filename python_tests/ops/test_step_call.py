"""The arguments of a step: by name, in the order of the schemas, without trailing defaults."""

import dataclasses
import itertools

import pytest
import torch
from helpers import named, normal

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.step_call import StepCall, drift_arguments

X = normal(3, 8)
KEY = eff.Key(17, offset=5, first_chain=3)
OPS = torch.ops.effebm
STEP_OPS = {OPS.langevin_step.default: 2, OPS.langevin_step_.default: 4,
            OPS.langevin_transition.default: 3}  # fmt: skip
EACH = torch.tensor([0.1, 0.2, 0.3])
CODES = _C.COMPRESSORS
COMPRESSORS = {None: {}, eff.TopK(3): {"compressor": CODES["topk"], "compressor_size": 3},
               eff.BlockSign(4): {"compressor": CODES["block_sign"], "compressor_size": 4},
               eff.RandomK(3): {"compressor": CODES["random_k"], "compressor_size": 3},
               eff.RandomK(3, unbiased=False): {"compressor": CODES["biased_random_k"],
                                                "compressor_size": 3},
               eff.NaturalCompression(2): {"compressor": CODES["natural"], "compressor_size": 2},
               torch.tanh: {}}  # fmt: skip
CLIPS = {None: {}, eff.ClipValue(0.5): {"clip": _C.CLIP_VALUE, "clip_limit": 0.5},
         eff.ClipNorm(2.0): {"clip": _C.CLIP_NORM, "clip_limit": 2.0}}  # fmt: skip
ENDS = {"lower": -1.0, "upper": 2.0}
BOUNDS = {None: {}, (-1, 2): {"bounds": _C.BOUNDS_CLAMP, **ENDS},
          eff.Reflect(-1, 2): {"bounds": _C.BOUNDS_REFLECT, **ENDS}}  # fmt: skip


def check(op, n_tensors, given, expected):
    """What is given is expected, and the last of it is no default."""
    schema = op._schema.arguments[n_tensors:]
    by_name = dict(zip((a.name for a in schema), given, strict=False))
    wanted = {a.name: a.default_value for a in schema} | expected
    assert {name: wanted.pop(name) for name in by_name} == by_name
    assert wanted == {a.name: a.default_value for a in schema[len(given) :]}
    last = schema[len(given) - 1].name if given else "step_sizes"
    assert last in ("step_sizes", "noise_stds", "block_offsets", "first_chain") or last in expected


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
@pytest.mark.parametrize("noise_std", [None, 0.0, 0.5])
def test_the_arguments_are_those_of_the_schema(compressor, noise_std):
    for clip, bounds in itertools.product(CLIPS, BOUNDS):
        call = StepCall.of(X, 0.25, compressor, noise_std, clip, bounds, KEY)
        key, *_ = call.tensors()
        expected = {"key": key, "offset": 5, "first_chain": 3, "step_size": 0.25,
                    "noise_std": noise_std}  # fmt: skip
        if compressor is not torch.tanh:  # a step along what the function gives has no clip
            drift = COMPRESSORS[compressor] | CLIPS[clip]
            expected |= drift
            given = drift_arguments(X, compressor, clip, KEY)
            words = {name: expected[name] for name in ("key", "offset", "first_chain")}
            draws = compressor is not None and compressor.is_random
            check(OPS.drift.default, 3, given, drift | words if draws else drift)
        for op, n_tensors in STEP_OPS.items():
            check(op, n_tensors, call.arguments(), expected | BOUNDS[bounds])
            check(op, n_tensors, call.without_bounds().arguments(), expected)


def test_tensors_stay_tensors_under_their_names():
    compressor = eff.BlockSign(block_offsets=[0, 3, 8])
    call = StepCall.of(X, EACH, compressor, EACH, rng=KEY)
    names = [a.name for a in OPS.langevin_step.default._schema.arguments[2:]]
    given = dict(zip(names, call.arguments(), strict=False))
    assert torch.equal(given["step_sizes"], EACH)
    assert torch.equal(given["noise_stds"], EACH)
    assert given["block_offsets"].tolist() == [0, 3, 8]
    kept = call.with_tensors(*[None] * 4)
    assert not any(isinstance(a, torch.Tensor) for a in kept.arguments())
    assert kept.with_tensors(*call.tensors()) == call


def test_a_call_is_frozen():
    call = StepCall.of(X, 0.25, rng=KEY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.step_size = 0.5


def test_a_generator_draws_no_key_for_a_call_that_is_refused():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    wrong = [{"clip": 1.0}, {"bounds": (1, 0)}, {"compressor": eff.TopK(9)}, {"noise_std": -1.0}]
    for bad in wrong:
        for compressed in (bad, {"compressor": torch.tanh} | bad):
            with pytest.raises((TypeError, ValueError), match=r"expected"):
                eff.langevin_step(X, X, 0.1, rng=generator, **compressed)
    assert torch.equal(generator.get_state(), before)
