// Storage types of a state and the type its arithmetic is done in.
#pragma once

#include "arith.h"

namespace effebm {

enum class DType : int { float32, float64, bfloat16, float16 };

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

struct bfloat16 {
  uint16_t bits;
};

struct float16 {  // IEEE 754 binary16
  uint16_t bits;
};

// Compute<T> is double for double, and float for every other type.
template <class T>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

EFFEBM_HD float widen(float v) { return v; }
EFFEBM_HD double widen(double v) { return v; }
EFFEBM_HD float widen(bfloat16 v) { return from_bits(uint32_t(v.bits) << 16); }
EFFEBM_HD float widen(float16 v) {
#ifdef __CUDA_ARCH__
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(v.bits));
  return wide;
#else
  const uint32_t magnitude = v.bits & 0x7FFFu, sign = uint32_t(v.bits & 0x8000u) << 16;
  // Once the bits are in place, the exponent is 112 too small; the product is exact, also for
  // denormals.
  const uint32_t finite = to_bits(from_bits(magnitude << 13) * 0x1p112f);
  return from_bits((magnitude < 0x7C00u ? finite : magnitude << 13 | 0x7F800000u) | sign);
#endif
}

// Rounds to the storage type, to nearest even.
template <class T>
EFFEBM_HD T narrow(Compute<T> v) {
  return v;
}
template <>
EFFEBM_HD bfloat16 narrow<bfloat16>(float v) {
#ifdef __CUDA_ARCH__
  bfloat16 narrowed;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrowed.bits) : "f"(v));
  return narrowed;
#else
  const uint32_t b = to_bits(v);
  const uint32_t rounded = (b + 0x7FFFu + (b >> 16 & 1u)) >> 16;
  const uint32_t quiet_nan = b >> 16 | 0x0040u;
  return {uint16_t((b & 0x7FFFFFFFu) > 0x7F800000u ? quiet_nan : rounded)};
#endif
}
template <>
EFFEBM_HD float16 narrow<float16>(float v) {
#ifdef __CUDA_ARCH__
  float16 narrowed;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrowed.bits) : "f"(v));
  return narrowed;
#else
  const uint32_t b = to_bits(v) & 0x7FFFFFFFu, sign = to_bits(v) >> 16 & 0x8000u;
  const uint32_t least_normal = 0x38800000u, too_large = 0x47800000u;  // 2^-14, 2^16
  // 1/2 has the last place of float16's denormals, so that adding it rounds to them.
  const uint32_t denormal = to_bits(from_bits(b) + 0.5f) - to_bits(0.5f);
  const uint32_t rebiased = b - (112u << 23);
  const uint32_t normal = (rebiased + 0xFFFu + (rebiased >> 13 & 1u)) >> 13;
  const uint32_t finite = b < least_normal ? denormal : b < too_large ? normal : 0x7C00u;
  return {uint16_t((b > 0x7F800000u ? 0x7E00u : finite) | sign)};
#endif
}

// Calls f(T()) with the storage type that dtype names.
template <class F>
void dispatch(DType dtype, const F& f) {
  switch (dtype) {
    case DType::float32:
      return f(float());
    case DType::float64:
      return f(double());
    case DType::bfloat16:
      return f(bfloat16());
    case DType::float16:
      return f(float16());
  }
}

}  // namespace effebm::inline EFFEBM_ISA::core
