"""Arithmetic, bit operations and conversions against NumPy and exact fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from ptx_simulator import Module, device_array, device_copy, launch
from ptx_simulator import floats as simulator_floats

Compiled = Callable[[str], Module]
N = 256


def words(n: int = N, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**32, n, dtype=np.uint32) >> rng.integers(0, 32, n).astype(np.uint32)
    values[:6] = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE]
    return device_copy(values)


def long_words(n: int = N, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**64, n, dtype=np.uint64) >> rng.integers(0, 64, n).astype(np.uint64)
    values[:4] = [0, 1, 2**63, 2**64 - 1]
    return device_copy(values)


def float_values(dtype: type, n: int = N, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 7, n)).astype(dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    values[:8] = [0, -0.0, np.inf, -np.inf, np.nan, tiny, np.finfo(dtype).max, -tiny]
    return device_copy(rng.permutation(values))


def bits(a: np.ndarray) -> np.ndarray:
    """Returns the bits, with one NaN for all."""
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    return np.where(np.isnan(a), unsigned.type(0), np.ascontiguousarray(a).view(unsigned))


# --- integers -------------------------------------------------------------------------------------

BINARY = {
    "uint32_t": {
        "a + b": lambda a, b: a + b,
        "a - b": lambda a, b: a - b,
        "a * b": lambda a, b: a * b,
        "__umulhi(a, b)": lambda a, b: (a.astype(np.uint64) * b >> np.uint64(32)).astype(np.uint32),
        "uint32_t(__mulhi(int(a), int(b)))": lambda a, b: (
            (a.view(np.int32).astype(np.int64) * b.view(np.int32)) >> 32
        ).astype(np.uint32),
        "b ? a / b : 0": lambda a, b: np.where(b == 0, 0, a // np.maximum(b, 1)),
        "b ? a % b : 0": lambda a, b: np.where(b == 0, 0, a % np.maximum(b, 1)),
        "a << (b & 31)": lambda a, b: a << (b & 31),
        "a >> (b & 31)": lambda a, b: a >> (b & 31),
        "uint32_t(int(a) >> (b & 31))": lambda a, b: (
            a.view(np.int32) >> (b & 31).astype(np.int32)
        ).view(np.uint32),
        "(a & b) | (~a & 0x0f0f1234u) ^ b": lambda a, b: (a & b) | (~a & 0x0F0F1234) ^ b,
        "__funnelshift_l(a, b, 7)": lambda a, b: (b << np.uint32(7)) | (a >> np.uint32(25)),
        "__funnelshift_r(a, b, b)": lambda a, b: (
            ((b.astype(np.uint64) << np.uint64(32)) | a) >> (b & 31).astype(np.uint64)
        ).astype(np.uint32),
        "__funnelshift_lc(a, b, 40)": lambda a, b: a,
        "min(a, b)": np.minimum,
        "uint32_t(max(int(a), int(b)))": lambda a, b: np.maximum(
            a.view(np.int32), b.view(np.int32)
        ).view(np.uint32),
        "uint32_t(abs(int(a)))": lambda a, b: np.abs(a.view(np.int32)).view(np.uint32),
        "__popc(a) + __clz(b)": lambda a, b: np.array(
            [bin(x).count("1") + 32 - int(y).bit_length() for x, y in zip(a, b, strict=True)]
        ),
        "__ffs(a)": lambda a, b: np.array([(int(x) & -int(x)).bit_length() for x in a]),
        "__brev(a)": lambda a, b: np.array([int(f"{x:032b}"[::-1], 2) for x in a]),
        "__byte_perm(a, b, 0x3715)": lambda a, b: (
            (a >> np.uint32(24) << np.uint32(24))
            | (b >> np.uint32(24) << np.uint32(16))
            | (a >> np.uint32(8) & 255) << np.uint32(8)
            | (b >> np.uint32(8) & 255)
        ),
        "a / 7u": lambda a, b: a // 7,
        "(a > b) + 2 * (int(a) < int(b)) + 4 * (a == b || a != 3)": lambda a, b: (
            (a > b) + 2 * (a.view(np.int32) < b.view(np.int32)) + 4 * ((a == b) | (a != 3))
        ),
        "uint32_t(int8_t(a)) + uint16_t(b)": lambda a, b: (
            a.astype(np.int8).astype(np.uint32) + (b & 0xFFFF)
        ),
    },
    "uint64_t": {
        "a * b + 5": lambda a, b: a * b + np.uint64(5),
        "__umul64hi(a, b)": lambda a, b: np.array(
            [int(x) * int(y) >> 64 for x, y in zip(a, b, strict=True)], np.uint64
        ),
        "uint64_t(__mul64hi((long long)a, (long long)b))": lambda a, b: np.array(
            [
                (int(x) * int(y) >> 64) % 2**64
                for x, y in zip(a.view(np.int64), b.view(np.int64), strict=True)
            ],
            np.uint64,
        ),
        "b ? a / b : 0": lambda a, b: np.where(b == 0, 0, a // np.maximum(b, 1)),
        "b ? a % b : 0": lambda a, b: np.where(b == 0, 0, a % np.maximum(b, 1)),
        "b > 3 ? uint64_t((long long)a / (long long)b) : 0": lambda a, b: np.array(
            [
                0 if y <= 3 else truncated(int(x), int(np.int64(np.uint64(y).view(np.int64))))
                for x, y in zip(a.view(np.int64), b, strict=True)
            ],
            np.uint64,
        ),
        "a >> (b & 63)": lambda a, b: a >> (b & np.uint64(63)),
        "__popcll(a) + __clzll(b)": lambda a, b: np.array(
            [bin(x).count("1") + 64 - int(y).bit_length() for x, y in zip(a, b, strict=True)]
        ),
        "uint64_t(uint32_t(a)) * uint32_t(b)": lambda a, b: (
            (a & np.uint64(0xFFFFFFFF)) * (b & np.uint64(0xFFFFFFFF))
        ),
        "max(a, b) ^ (uint64_t)min((long long)a, (long long)b)": lambda a, b: (
            np.maximum(a, b) ^ np.minimum(a.view(np.int64), b.view(np.int64)).view(np.uint64)
        ),
    },
    "float": {},
    "double": {},
}


def truncated(x: int, y: int) -> int:
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient) % 2**64


def least(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns fmin, with -0 below +0."""
    return np.where((a == 0) & (b == 0), np.where(np.signbit(a), a, b), np.fmin(a, b))


def float_cases(f: str) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    return {
        "a + b": lambda a, b: a + b,
        "a - b": lambda a, b: a - b,
        "a * b": lambda a, b: a * b,
        "a / b": lambda a, b: a / b,
        f"sqrt{f}(fabs{f}(a))": lambda a, b: np.sqrt(np.abs(a)),
        f"fmin{f}(a, b)": least,
        f"fmax{f}(a, b)": lambda a, b: -least(-a, -b),
        "a != b ? 4 : 5": lambda a, b: np.where(a != b, 4, 5).astype(a.dtype),
        f"copysign{f}(a, b)": np.copysign,
        f"rint{f}(a) + floor{f}(b)": lambda a, b: np.rint(a) + np.floor(b),
        f"trunc{f}(a) + ceil{f}(b)": lambda a, b: np.trunc(a) + np.ceil(b),
        "a < b ? a : b": lambda a, b: np.where(a < b, a, b),
        "!(a >= b) ? 1 : (a != b ? 2 : 3)": lambda a, b: np.where(
            ~(a >= b), 1, np.where(a != b, 2, 3)
        ).astype(a.dtype),
    }


BINARY["float"] = float_cases("f")
BINARY["double"] = float_cases("")
TYPES = {"uint32_t": np.uint32, "uint64_t": np.uint64, "float": np.float32, "double": np.float64}


def binary_source(kind: str) -> str:
    lines = "\n".join(f"  o[{i} * n + i] = {e};" for i, e in enumerate(BINARY[kind]))
    lines = lines.replace("n + i]", "n + t]")
    return f"""#include <cstdint>
extern "C" __global__ void binary(const {kind}* pa, const {kind}* pb, {kind}* o, int n) {{
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= n) return;
  const {kind} a = pa[t], b = pb[t];
{lines}
}}"""


@pytest.mark.parametrize("kind", list(BINARY))
def test_arithmetic(compiled: Compiled, kind: str) -> None:
    make = {"uint32_t": words, "uint64_t": long_words}.get(kind)
    a, b = (make(seed=s) if make else float_values(TYPES[kind], seed=s) for s in (1, 2))
    b[100:110] = a[100:110]
    if TYPES[kind] in (np.float32, np.float64):
        a[110:112], b[110:112] = [0, -0.0], [-0.0, 0]
    cases = BINARY[kind]
    out = device_array((len(cases), N), TYPES[kind])
    launch(compiled(binary_source(kind)).kernels["binary"], 3, 96, [a, b, out, N])
    with np.errstate(all="ignore"):
        for row, (text, expected) in zip(out, cases.items(), strict=True):
            np.testing.assert_array_equal(
                bits(row), bits(np.asarray(expected(a, b)).astype(TYPES[kind])), err_msg=text
            )


ASSEMBLY = """#include <cstdint>
extern "C" __global__ void assembly(const uint32_t* pa, const uint32_t* pb, uint32_t* o, int n) {
  const int t = threadIdx.x;
  const uint32_t a = pa[t], b = pb[t];
  uint32_t r; uint64_t w; int32_t s;
  asm("bfe.u32 %0, %1, %2, 9;" : "=r"(r) : "r"(a), "r"(b & 31)); o[t] = r;
  asm("bfe.s32 %0, %1, 5, %2;" : "=r"(s) : "r"(a), "r"(b & 15)); o[n + t] = s;
  asm("bfi.b32 %0, %1, %2, %3, 7;" : "=r"(r) : "r"(a), "r"(b), "r"(b & 31)); o[2 * n + t] = r;
  asm("lop3.b32 %0, %1, %2, %3, 0x1b;" : "=r"(r) : "r"(a), "r"(b), "r"(a + b)); o[3 * n + t] = r;
  asm("mad.hi.u32 %0, %1, %2, 3;" : "=r"(r) : "r"(a), "r"(b)); o[4 * n + t] = r;
  asm("mad.wide.s32 %0, %1, %2, 9;" : "=l"(w) : "r"(a), "r"(b)); o[5 * n + t] = uint32_t(w >> 32);
  asm("slct.s32.s32 %0, 5, 6, %1;" : "=r"(s) : "r"(a)); o[6 * n + t] = s;
  asm("set.lt.u32.u32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); o[7 * n + t] = r;
  asm("bfind.s32 %0, %1;" : "=r"(r) : "r"(a)); o[8 * n + t] = r;
  asm("cvt.sat.u8.s32 %0, %1;" : "=r"(r) : "r"(a)); o[9 * n + t] = r;
  asm("{.reg .pred p, q; setp.gt.and.u32 p|q, %1, 9, !p; setp.lt.u32 q, %1, 9;"
      " setp.eq.or.u32 p|q, %1, %2, q; selp.u32 %0, 1, 0, p;}" : "=r"(r) : "r"(a), "r"(b));
  o[10 * n + t] = r;
  asm("bmsk.clamp.b32 %0, %1, %2;" : "=r"(r) : "r"(b & 31), "r"(a & 15)); o[11 * n + t] = r;
  asm("fns.b32 %0, %1, 3, 2;" : "=r"(r) : "r"(a)); o[12 * n + t] = r;
  asm("shl.b32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b & 63)); o[13 * n + t] = r;
  asm("shr.u32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b & 63)); o[14 * n + t] = r;
  asm("shr.s32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b & 63)); o[15 * n + t] = r;
  asm("bfe.s32 %0, %1, %2, 9;" : "=r"(s) : "r"(a), "r"(b & 63)); o[16 * n + t] = s;
  asm("{.reg .u32 x; add.cc.u32 x, %1, %2; addc.cc.u32 x, %1, %3; addc.u32 %0, 0, 0;}"
      : "=r"(r) : "r"(a), "r"(b), "r"(~a)); o[17 * n + t] = r;
  asm("{.reg .u32 x; sub.cc.u32 x, %1, %2; subc.cc.u32 x, %1, %1; subc.u32 %0, 9, 0;}"
      : "=r"(r) : "r"(a), "r"(b)); o[18 * n + t] = r;
}"""


def test_instructions_that_nvcc_rarely_emits(compiled: Compiled) -> None:
    a, b = words(seed=3), words(seed=4)
    out = device_array((19, N), np.uint32)
    launch(compiled(ASSEMBLY).kernels["assembly"], 1, N, [a, b, out, N])
    for i, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        signed_x, signed_y = x - (x >> 31 << 32), y - (y >> 31 << 32)
        z, length, place = (x + y) % 2**32, y & 15, y & 31
        field = (signed_x >> 5) & ((1 << length) - 1)
        field -= (field >> (length - 1) << length) if length else 0
        mask = (0x7F << place) % 2**32
        look_up = sum(
            (0x1B >> (4 * (x >> k & 1) + 2 * (y >> k & 1) + (z >> k & 1)) & 1) << k
            for k in range(32)
        )
        magnitude = ~signed_x if signed_x < 0 else signed_x
        expected = [
            (x >> place) & 0x1FF,
            field,
            (y & ~mask) | (x << place & mask),
            look_up,
            (x * y >> 32) + 3,
            (signed_x * signed_y + 9) >> 32,
            5 if signed_x >= 0 else 6,
            -1 if x < y else 0,
            magnitude.bit_length() - 1,
            min(max(signed_x, 0), 255),
            int(x == y or x < 9),
            ((1 << (x & 15)) - 1) << place,
            next((k for k in range(3, 32) if bin(x >> 3 << 3 & (2 << k) - 1).count("1") == 2), -1),
            x << (y & 63),
            x >> (y & 63),
            signed_x >> (y & 63),
            ((signed_x >> (y & 63)) + 256) % 512 - 256,
            (x + y) >> 32,
            9 - (x < y),
        ]
        assert out[:, i].tolist() == [v % 2**32 for v in expected], i


# --- floats ---------------------------------------------------------------------------------------

FMA = """
extern "C" __global__ void fused(const float* a, const float* b, const float* c, float* o,
                                 const double* x, const double* y, const double* z, double* p) {
  const int i = threadIdx.x;
  o[i] = fmaf(a[i], b[i], c[i]);
  p[i] = fma(x[i], y[i], z[i]);
}"""


def near_ties(dtype: type) -> tuple[np.ndarray, ...]:
    """Returns products that nearly cancel or tie with the addend, where two roundings show."""
    rng, digits = np.random.default_rng(5), np.finfo(dtype).nmant
    a, b = (1 + rng.integers(0, 2**digits, (2, N)) * 2.0**-digits).astype(dtype)
    b[: N // 4] = (1 + rng.integers(0, 16, N // 4) * 2.0**-4).astype(dtype)
    c = (-(a * b) * (1 + rng.integers(-2, 3, N) * 2.0**-digits)).astype(dtype)
    c[N // 2 :] = 2.0 ** rng.integers(20, digits + 5, N // 2)
    # A product just below a tie with an odd addend: rounding to float64 first makes it the tie.
    small = (2.0 ** -rng.integers(digits // 2 + 3, digits - 1, N // 8)).astype(dtype)
    half = dtype(2.0 ** -((digits + 1) // 2))
    a[-N // 8 :], b[-N // 8 :] = half * (1 + small), half * (1 - small)
    c[-N // 8 :] = 1 + (2 * rng.integers(0, 99, N // 8) + 1) * 2.0**-digits
    return device_copy(a), device_copy(b), device_copy(c)


def test_fma_rounds_once(compiled: Compiled) -> None:
    single, double = (near_ties(dtype) for dtype in (np.float32, np.float64))
    o, p = device_array(N, np.float32), device_array(N, np.float64)
    launch(compiled(FMA).kernels["fused"], 1, N, [*single, o, *double, p])
    for (a, b, c), result in ((single, o), (double, p)):
        for x, y, z, r in zip(a.tolist(), b.tolist(), c.tolist(), result.tolist(), strict=True):
            exact = Fraction(x) * Fraction(y) + Fraction(z)
            assert r == nearest(exact, result.dtype), (x, y, z)


def nearest(exact: Fraction, dtype: np.dtype) -> float:
    """Rounds a rational once; Python divides integers with correct rounding to float64."""
    near = exact.numerator / exact.denominator
    if dtype == np.float64:
        return near
    guess = dtype.type(near)
    around = [np.nextafter(guess, dtype.type(s) * np.inf) for s in (-1, 1)] + [guess]
    best = min(abs(Fraction(float(v)) - exact) for v in around)
    ties = [v for v in around if abs(Fraction(float(v)) - exact) == best]
    return float(min(ties, key=lambda v: int(v.view(np.uint32)) & 1))


def test_fma_edges() -> None:
    tiny = np.float32(np.finfo(np.float32).smallest_subnormal)
    a = np.array([tiny, np.inf, np.inf, 1e38, -0.0, tiny], np.float32)
    b = np.array([0.5, 1, 0, 10, 1, 0.75], np.float32)
    c = np.array([0, -np.inf, 1, -np.inf, -0.0, tiny], np.float32)
    with np.errstate(all="ignore"):
        got = simulator_floats.fma32(a, b, c)
    want = np.array([0, np.nan, np.nan, -np.inf, -0.0, 2 * tiny], np.float32)
    np.testing.assert_array_equal(bits(got), bits(want))


CONVERT = """#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void convert(const float* x, const double* d, const uint64_t* u, uint16_t* b,
                                   uint16_t* h, int* i, int64_t* l, float* f, double* g, int n) {
  const int t = threadIdx.x;
  b[t] = __bfloat16_as_ushort(__float2bfloat16(x[t]));
  const __nv_bfloat162 pair = __floats2bfloat162_rn(x[t], x[(t + 1) % n]);
  b[n + t] = __bfloat16_as_ushort(pair.x);
  b[2 * n + t] = __bfloat16_as_ushort(pair.y);
  h[t] = __half_as_ushort(__float2half(x[t]));
  i[t] = int(x[t]);
  i[n + t] = __float2int_rn(x[t]);
  i[2 * n + t] = int(uint8_t(u[t])) + int(int16_t(u[t]));
  l[t] = (long long)d[t];
  l[n + t] = (long long)(unsigned long long)d[t];
  f[t] = float(d[t]);
  f[n + t] = float(u[t]);
  f[2 * n + t] = float(int64_t(u[t]));
  f[3 * n + t] = float(uint32_t(u[t])) + float(int(u[t]));
  f[5 * n + t] = __saturatef(x[t]);
  f[4 * n + t] = __half2float(__float2half(x[t])) + __bfloat162float(__float2bfloat16(x[t]));
  g[t] = double(x[t]) + double(u[t]);
}"""


def test_conversions(compiled: Compiled) -> None:
    x, d, u = float_values(np.float32), float_values(np.float64, seed=1), long_words()
    d[20:40] *= 1e13
    b, h = device_array((3, N), np.uint16), device_array(N, np.uint16)
    i, l = device_array((3, N), np.int32), device_array((2, N), np.int64)
    f, g = device_array((6, N), np.float32), device_array(N, np.float64)
    launch(compiled(CONVERT).kernels["convert"], 1, N, [x, d, u, b, h, i, l, f, g, N])
    torch = pytest.importorskip("torch")
    brain = torch.from_numpy(x.copy()).bfloat16()
    brain_bits = np.where(
        np.isnan(x), np.uint16(0x7FFF), brain.view(torch.int16).numpy().view(np.uint16)
    )
    with np.errstate(all="ignore"):
        half = x.astype(np.float16)
        for got, want in (
            (b, np.stack([brain_bits, brain_bits, np.roll(brain_bits, -1)])),
            (bits(h.view(np.float16)), bits(half)),
            (i[0], saturated(np.trunc(x), np.int32)),
            (i[1], saturated(np.rint(x), np.int32)),
            (i[2], u.astype(np.uint8).astype(np.int32) + u.astype(np.int16)),
            (l[0], saturated(np.trunc(d), np.int64)),
            (l[1].view(np.uint64), saturated(np.trunc(d), np.uint64)),
            (bits(f[0]), bits(d.astype(np.float32))),
            (bits(f[1]), bits(np.array([float_of(int(v)) for v in u], np.float32))),
            (bits(f[2]), bits(np.array([float_of(int(v)) for v in u.view(np.int64)], np.float32))),
            (
                bits(f[3]),
                bits(
                    u.astype(np.uint32).astype(np.float32) + u.astype(np.int32).astype(np.float32)
                ),
            ),
            (bits(f[4]), bits(half.astype(np.float32) + brain.float().numpy())),
            (f[5], np.clip(np.nan_to_num(x, nan=0.0), 0, 1)),
            (bits(g), bits(x.astype(np.float64) + u.astype(np.float64))),
        ):
            np.testing.assert_array_equal(got, want)


def float_of(value: int) -> float:
    return nearest(Fraction(value), np.dtype(np.float32))


def saturated(values: np.ndarray, dtype: type) -> np.ndarray:
    info = np.iinfo(dtype)
    finite = np.clip(np.nan_to_num(values.astype(np.float64)), -1e30, 1e30).tolist()
    return np.array([min(max(int(v), info.min), info.max) for v in finite], dtype)
