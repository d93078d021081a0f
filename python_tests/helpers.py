"""What the tests of the ops share: dtypes, special values, memory layouts, comparison of bits."""

import math

import torch

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
NAN, INF = math.nan, math.inf
# 1e-40 is a denormal of float32 and bfloat16, 1e-310 one of float64, 1e-7 one of float16.
SPECIAL = torch.tensor(
    [0.0, -0.0, 1, -1, 2, -2, 1e-40, -1e-40, 1e-7, 1e-310, -3e-310, 3e38, INF, -INF, NAN, -NAN],
    dtype=torch.float64,
)
# Views of a tensor's shape whose memory holds NaN between the elements, or another order of axes.
LAYOUTS = {
    "contiguous": lambda t: t.clone(),
    "transposed": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "strided": lambda t: torch.stack([t, torch.full_like(t, NAN)], dim=-1)[..., 0],
    "inner": lambda t: torch.nn.functional.pad(t, (1, 2), value=NAN)[..., 1:-2],
}
READ_ONLY_LAYOUTS = {**LAYOUTS, "expanded": lambda t: t[:1].expand_as(t)}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def assert_same_bits(got, want):
    """Equal shapes, dtypes and bits, wherever the two lie; any NaN equals any NaN."""
    got, want = got.cpu(), want.cpu()
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    nan = want.isnan()
    assert torch.equal(got.isnan(), nan)
    integer = INTEGERS[got.element_size()]
    got, want = (t.masked_fill(nan, 0).contiguous().view(integer) for t in (got, want))
    assert torch.equal(got, want)


def normal(*shape, seed=0, dtype=torch.float32, device="cpu"):
    """Standard normals that depend on the seed only, on every device the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).to(device)


def on(device, value, copies=None):
    """A copy of tensors, and of what holds them, on a device. Strides stay, gaps in memory too,
    and tensors that share memory, or are one, still do."""
    copies = {} if copies is None else copies
    if isinstance(value, (list, tuple)):
        return type(value)(on(device, part, copies) for part in value)
    if isinstance(value, dict):
        return {name: on(device, part, copies) for name, part in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    if id(value) not in copies:
        storage = value.untyped_storage()
        if id(storage) not in copies:
            memory = torch.empty(0, dtype=torch.uint8, device=value.device).set_(storage)
            copies[id(storage)] = memory.to(device, copy=True)
        memory = copies[id(storage)].view(value.dtype)
        there = memory.as_strided(value.shape, value.stride(), value.storage_offset())
        copies[id(value)] = there.requires_grad_(value.requires_grad)
    return copies[id(value)]


def expected(reference, *arguments, **options):
    """What a reference makes of copies of its arguments on the CPU."""
    arguments, options = on("cpu", (arguments, options))
    with torch._C.DisableTorchFunction():  # it is slow where a stand-in looks at every function
        return reference(*arguments, **options)


def named(value):
    """Of a test's parameter, alike in every process: str() of a function has its address."""
    return getattr(value, "__name__", str(value))
