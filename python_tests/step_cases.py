"""Steps that several tests make: their options, random cases, and the raw arguments of the ops."""

import math

import torch
from helpers import DTYPES, LAYOUTS, SPECIAL, normal
from hypothesis import strategies as st

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype

CLIPS = [None, eff.ClipValue(0.5), eff.ClipNorm(1.5)]
BOUNDS = [None, (-1.0, 0.7), eff.Reflect(-0.3, 0.7)]
STEP_SIZES = [0.1, torch.tensor(0.1, dtype=torch.float64), torch.tensor([0.0, 0.1, 1.5])]
NOISES = [None, 0, 0.3, torch.tensor(0.3), torch.tensor([0.0, 0.5, 2.0])]
# The arguments of the ops after the tensors, as a step without options has them.
NEUTRAL = {"key": torch.tensor([1, 2]), "offset": 0, "first_chain": 0, "step_size": 0.1,
           "step_sizes": None, "noise_std": None, "noise_stds": None, "compressor": 0,
           "compressor_size": 0, "block_offsets": None, "clip": 0,
           "clip_limit": 0.0, "bounds": 0, "lower": 0.0, "upper": 0.0,
           "stochastic_rounding": False, "averaged_noise": False}  # fmt: skip


@st.composite
def cases(draw):
    shape = draw(
        st.lists(st.integers(0, 6), min_size=1, max_size=4)
        | st.tuples(st.integers(0, 3), st.sampled_from([1, 63, 65, 1023, 1024, 1025, 2051]))
    )
    dtype = draw(st.sampled_from(DTYPES))
    layouts = st.sampled_from(sorted(LAYOUTS))
    seed = draw(st.integers(0, 2**32))
    x, grad = normal(*shape, seed=seed, dtype=dtype), normal(*shape, seed=seed + 1, dtype=dtype)
    if draw(st.booleans()):
        index = torch.randint(len(SPECIAL), shape, generator=torch.Generator().manual_seed(seed))
        grad = SPECIAL[index].to(dtype)
    x = LAYOUTS[draw(layouts)](x)
    grad = {"expanded": grad[:1].expand_as(grad), "x": x}.get(
        draw(layouts | st.sampled_from(["expanded", "x"])), LAYOUTS[draw(layouts)](grad)
    )
    dim = math.prod(shape[1:])
    compressor = draw(
        st.none()
        | st.builds(eff.TopK, st.integers(0, dim))
        | st.builds(eff.BlockSign, st.integers(max(1, dim // 50), 2 * dim + 2))
        | st.builds(eff.RandomK, st.integers(0, dim), unbiased=st.booleans())
        | st.builds(eff.RandomBlock, st.integers(0, dim))
        | st.builds(eff.NaturalCompression, st.integers(0, 22))
    )
    residual = None
    if compressor is not None and compressor.shrinks and draw(st.booleans()):
        residual = LAYOUTS[draw(layouts)](normal(*shape, seed=seed + 2, dtype=compute_dtype(dtype)))
    options = {"clip": CLIPS, "bounds": BOUNDS, "noise_std": NOISES[:-1]}
    drawn = {name: draw(st.sampled_from(values)) for name, values in options.items()}
    drawn["stochastic_rounding"] = dtype.itemsize == 2 and draw(st.booleans())
    moves_all = compressor is None or not compressor.moves_kept
    drawn["averaged_noise"] = moves_all and draw(st.booleans())
    of_elements = len(shape) > 1 and draw(st.booleans())
    step_size = (
        normal(1, *shape[1:], seed=seed + 3).abs().floor()
        if of_elements
        else draw(st.sampled_from(STEP_SIZES[:-1]))
    )
    if draw(st.booleans()):
        drawn["noise_std"] = normal(*shape, seed=seed + 4).abs()
    return x, grad, step_size, residual, compressor, drawn
