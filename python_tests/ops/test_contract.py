"""The numerical contract: bits depend on the inputs and on nothing else."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import native
import numpy as np
import pytest
import torch
from helpers import DTYPES
from hypothesis import given, settings
from hypothesis import strategies as st

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.langevin_step import langevin_step_reference

# Around the four elements of a draw, the lanes of vectors and the chunks that kernels work in.
DIMS = [1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 2051]
KEY = eff.Key(-3, offset=2**40 + 1, first_chain=2**31)
OPTIONS = [
    {},
    {"noise_std": 0.25, "clip": eff.ClipValue(1.1), "bounds": (-1.3, 0.7)},
    {"noise_std": 0, "bounds": eff.Reflect(-0.9, 1.7)},
]


def table(rows, dim, dtype, salt=0):
    """Values from -4 to 4, with ties, exact in float32: the same from any library and machine."""
    i = np.arange(rows * dim, dtype=np.int64).reshape(rows, dim)
    return torch.from_numpy((i * (7919 + 612 * salt) % 2003 - 1001) / 256.0).to(dtype)


def compressors(dim):
    return {
        "none": None,
        "third": eff.TopK(dim // 3),
        "most": eff.TopK(ratio=0.9),
        "blocks": eff.BlockSign(7),
        "row": eff.BlockSign(5000),
        "random": eff.RandomK(dim // 3, unbiased=False),
        "scaled": eff.RandomK(ratio=0.3),
        "block": eff.RandomBlock(ratio=0.4),
        "natural": eff.NaturalCompression(3),
    }


def results():
    """Names and tensors: every op on every type, with sizes at which code paths change."""
    for dim in DIMS:
        name = f"normals {dim}"
        yield name, torch.from_numpy(native.normals(2, dim, KEY.seed, KEY.offset, KEY.first_chain))
    # The second scale makes denormals of float32 and bfloat16.
    for dtype, dim, scale in itertools.product(DTYPES, DIMS, [1.0, 2.0**-134]):
        x, grad = table(3, dim, dtype) * scale, table(3, dim, dtype, 1) * scale
        for kind, compressor in compressors(dim).items():
            name = (
                f"{str(dtype).removeprefix('torch.')} {dim} {kind}{'' if scale == 1 else ' tiny'}"
            )
            if compressor is not None:
                yield f"compress {name}", compressor.compress(grad, rng=KEY)
            for i, options in enumerate(OPTIONS):
                residual = None
                if compressor is not None and compressor.shrinks:
                    residual = table(3, dim, compute_dtype(dtype), 2) * scale
                options = {"rng": KEY, "compressor": compressor, **options}
                yield f"step {name} {i}", eff.langevin_step(x, grad, 0.1, **options)
                in_place = eff.langevin_step_(x.clone(), grad, 0.1, residual=residual, **options)
                yield f"step_ {name} {i}", in_place
                if residual is not None:
                    yield f"residual {name} {i}", residual
        name = f"{str(dtype).removeprefix('torch.')} {dim}{'' if scale == 1 else ' tiny'}"
        for noise_std in (0.0, 0.7 * scale):
            pair = eff.perturbed_pair(x, 0.3 * scale, noise_std=noise_std, rng=KEY)
            yield f"pair {name} {'noisy' if noise_std else 'plain'}", pair.x
            yield f"noise_dot {name} {'noisy' if noise_std else 'plain'}", pair.noise_dot


def digest(*tensors):
    whole = hashlib.sha256()
    for t in tensors:
        assert not t.isnan().any()  # its payload is outside the contract
        whole.update(t.contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:16]


@pytest.fixture(scope="module")
def here():
    digests = [(name, digest(t)) for name, t in results()]
    assert len(dict(digests)) == len(digests) > 1000
    return dict(digests)


KERNELS = {"default": "baseline", "avx2": "avx2", "avx512": "avx512"}


@pytest.mark.parametrize("capability", KERNELS)
def test_every_instruction_set_gives_the_same_bits(capability, here):
    # The child tests this package, wherever it is, and takes the helpers of this test.
    paths = os.pathsep.join([str(Path(eff.__file__).parents[1]), str(Path(__file__).parents[1])])
    child = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "ATEN_CPU_CAPABILITY": capability, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    kernels, digests = json.loads(child.stdout)
    assert [name for name in here if digests[name] != here[name]] == []
    # torch itself believes ATEN_CPU_CAPABILITY, whatever the machine has.
    has = {"avx2": torch.cpu._is_avx2_supported, "avx512": torch.cpu._is_avx512_supported}
    if capability in has and not has[capability]():
        pytest.skip(f"this machine has no {capability}: its kernels are {kernels}")
    assert kernels == KERNELS[capability]


# A change here changes what users get from their seeds: it belongs in the release notes.
GOLDEN = {
    "normals 1025": "31a5ca4ef654205a",
    "compress float32 1025 third": "6611383f70d054ac",
    "compress float32 1025 row": "0dbec4230db7ee9d",
    "step float32 1025 none 0": "f8fd43c22e9be8e8",
    "step_ float32 1025 third 1": "7b0561b3c82c3c8d",
    "step_ float32 1025 blocks 2": "ac72f8f6ef0df460",
    "residual float32 1025 row 0": "d2e23c1c62f59d42",
    "compress float64 1025 third": "ebf4bf2b4a68a5c4",
    "compress float64 1025 row": "1421e20c42551d00",
    "step float64 1025 none 0": "f7d73b009e57c395",
    "step_ float64 1025 third 1": "3fe5d6080d1c88b9",
    "step_ float64 1025 blocks 2": "9b23333c0b354ce7",
    "residual float64 1025 row 0": "b21ea4f2c8a639c9",
    "compress bfloat16 1025 third": "597ea2e15f52e3ab",
    "compress bfloat16 1025 row": "9096993ada540e11",
    "step bfloat16 1025 none 0": "b16a90648f57d1f2",
    "step_ bfloat16 1025 third 1": "0e739371dd6d2a47",
    "step_ bfloat16 1025 blocks 2": "bbce0d3ec3498cd1",
    "residual bfloat16 1025 row 0": "7139a0c4890f146e",
    "compress float32 1025 random": "d47151de20507363",
    "compress float64 1025 random": "b4563acea5c7579e",
    "compress bfloat16 1025 random": "49012a3bfd47b4cc",
    "compress float32 1025 scaled": "7ef3b3cfa68d70c4",
    "compress float64 1025 scaled": "2f840a333c529ea1",
    "compress bfloat16 1025 scaled": "93ad5bfc70c26620",
    "compress float32 1025 natural": "db7ca956404a8ae0",
    "compress float64 1025 natural": "3884d8c94305e755",
    "compress bfloat16 1025 natural": "a8a725196cea47f4",
    "step_ float32 1025 random 1": "e08bcc7354c1684f",
    "step_ float64 1025 random 1": "f002480614316c64",
    "step_ bfloat16 1025 random 1": "79b0b39eaba76d4e",
    "step float32 1025 scaled 0": "34673367ca8cb34a",
    "step float64 1025 scaled 0": "bd5060b1d5736418",
    "step bfloat16 1025 scaled 0": "a3a405e695a46641",
    "residual float32 1025 natural 2": "e8d3a31e7990ddb9",
    "residual float64 1025 natural 2": "66e897bf8d4d1e5b",
    "residual bfloat16 1025 natural 2": "b920c05587b96e36",
    "pair float32 1025 plain": "580a3f1ee314ed0d",
    "pair float32 1025 noisy": "998a49fcea4ae9c7",
    "noise_dot float32 1025 noisy": "9af3a3a4398f2904",
    "pair float64 1025 plain": "5aa9eb253d06a848",
    "pair float64 1025 noisy": "f03ceedd0ad5608e",
    "noise_dot float64 1025 noisy": "88ef9a2d7e8bd10d",
    "pair bfloat16 1025 plain": "1deffe957b92fc60",
    "pair bfloat16 1025 noisy": "bba09ba09709efb9",
    "pair float16 1025 plain": "ec846bdfba32e5b1",
    "pair float16 1025 noisy": "ffce4abbc70bc42e",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_results_are_those_of_the_release(name, here):
    assert here[name] == GOLDEN[name]


def step(x, grad, **options):
    residual = torch.zeros(x.shape, dtype=compute_dtype(x.dtype))
    options = {"rng": KEY, "compressor": eff.TopK(ratio=0.3), "residual": residual, **options}
    return eff.langevin_step_(x.clone(), grad, 0.1, **options), residual


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        eff.TopK(ratio=0.3),
        eff.BlockSign(100),
        eff.RandomK(ratio=0.3, unbiased=False),
        eff.NaturalCompression(),
    ],
)
@pytest.mark.parametrize("shape", [(301, 17), (64, 1025), (3, 30_000)])
def test_bits_do_not_depend_on_the_number_of_threads(dtype, compressor, shape):
    x, grad = table(*shape, dtype), table(*shape, dtype, 1)
    threads = torch.get_num_threads()
    digests = set()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            out = eff.langevin_step(x, grad, 0.1, rng=KEY, compressor=compressor)
            compressed = [] if compressor is None else [compressor.compress(grad, rng=KEY)]
            in_place = [] if compressor is None else step(x, grad, compressor=compressor)
            digests.add(digest(out, *compressed, *in_place))
    finally:
        torch.set_num_threads(threads)
    assert len(digests) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.sets(st.integers(1, 8)),
    st.sampled_from([1, 5, 1025]),
    st.booleans(),
)
def test_bits_do_not_depend_on_how_chains_are_split(dtype, cuts, dim, per_chain):
    x, grad = table(9, dim, dtype), table(9, dim, dtype, 1)
    noise_std = torch.arange(9.0) if per_chain else None
    whole = step(x, grad, noise_std=noise_std)
    parts = []
    for low, high in itertools.pairwise([0, *sorted(cuts), 9]):
        key = eff.Key(KEY.seed, KEY.offset, KEY.first_chain + low)
        noise = None if noise_std is None else noise_std[low:high]
        parts.append(step(x[low:high], grad[low:high], noise_std=noise, rng=key))
    for all_chains, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert digest(all_chains) == digest(torch.cat(pieces))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", compressors(1025).values(), ids=compressors(1025))
def test_bits_do_not_depend_on_strides_or_on_being_in_place(dtype, compressor):
    x, grad = table(6, 1025, dtype), table(6, 1025, dtype, 1)
    want = digest(eff.langevin_step(x, grad, 0.1, rng=KEY, compressor=compressor))
    columns, every_other = x.t().contiguous().t(), torch.stack([grad, grad], dim=-1)[..., 1]
    for state, gradient in itertools.product([x, columns], [grad, every_other]):
        options = {"rng": KEY, "compressor": compressor}
        assert digest(eff.langevin_step(state, gradient, 0.1, **options)) == want
        in_place = state.clone()
        assert in_place.stride() == state.stride()
        assert digest(eff.langevin_step_(in_place, gradient, 0.1, **options)) == want
    if compressor is not None:
        once, again = (compressor.compress(g, rng=KEY) for g in (grad, every_other))
        assert digest(once) == digest(again)


def test_bits_do_not_depend_on_whether_the_caller_flushes_denormals():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    torch.set_flush_denormal(False)
    for dtype, compressor in itertools.product(DTYPES, compressors(10).values()):
        tiny = torch.finfo(dtype).smallest_normal
        x, grad = (table(3, 10, dtype, salt) * (tiny / 8) for salt in (0, 1))
        options = {"compressor": compressor, "noise_std": tiny / 8}
        want = eff.langevin_step(x, grad, 0.5, rng=KEY, **options)
        seed = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}
        reference, _ = langevin_step_reference(x, grad, 0.5, **seed, **options)
        torch.set_flush_denormal(True)
        try:
            got = eff.langevin_step(x, grad, 0.5, rng=KEY, **options)
        finally:
            torch.set_flush_denormal(False)
        assert digest(got) == digest(want) == digest(reference)
        assert want.any()


def functional(x, grad, residual, step_size, key):
    options = {"compressor": eff.TopK(ratio=0.3), "bounds": (-1, 1), "noise_std": step_size}
    return eff.langevin_step(x, 2 * grad, step_size, rng=key, **options)


def in_place(x, grad, residual, step_size, key):
    options = {"compressor": eff.BlockSign(8), "clip": eff.ClipValue(1.0), "residual": residual}
    return eff.langevin_step_(x, 2 * grad, step_size, rng=key, **options) + residual


@pytest.mark.parametrize("function", [functional, in_place])
@pytest.mark.parametrize("as_step", [float, torch.tensor])
def test_compiled_steps_have_the_same_bits_and_compile_no_more_than_twice(function, as_step):
    # Slow to import, and the children that print digests do without.
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    for i in range(12):
        eager, traced = (
            [table(3 + i, 7 + 2 * i, torch.float32, salt) for salt in range(3)] for _ in range(2)
        )
        step_size, key = as_step(0.1 + 0.01 * i), KEY.at(i)
        want = function(*eager, step_size, key)
        got = compiled(*traced, step_size, key)
        assert digest(got, *traced) == digest(want, *eager)
    assert counter.frame_count <= 2


def test_compiled_steps_without_rng_draw_keys_of_their_own():
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: eff.langevin_step(x, x, 0, noise_std=1.0), fullgraph=True)
    x = torch.zeros(64, 64)
    torch.manual_seed(3)
    first, second = compiled(x), compiled(x)
    torch.manual_seed(3)
    assert torch.equal(compiled(x), first)
    assert not torch.equal(first, second)
    # Six standard errors of 4096 normals.
    assert abs(first.mean()) < 6 / 64
    assert abs(first.var() - 1) < 6 * 2**0.5 / 64


if __name__ == "__main__":
    digests = {name: digest(t) for name, t in results()}
    print(json.dumps([_C.cpu_capability(), digests]))
