// Storage types of a state and the type its arithmetic is done in.
#pragma once

#include "arith.h"

namespace effebm {

enum class DType : int { float32, float64, bfloat16 };

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

struct bfloat16 {
  uint16_t bits;
};

// Compute<T>: float for everything but double.
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

// Rounds to the storage type, to nearest even.
template <class T>
EFFEBM_HD T narrow(Compute<T> v) {
  return v;
}
template <>
EFFEBM_HD bfloat16 narrow<bfloat16>(float v) {
  const uint32_t b = to_bits(v);
  const uint32_t rounded = (b + 0x7FFFu + (b >> 16 & 1u)) >> 16;
  const uint32_t quiet_nan = b >> 16 | 0x0040u;
  return {uint16_t((b & 0x7FFFFFFFu) > 0x7F800000u ? quiet_nan : rounded)};
}

// f(T()) with the storage type that dtype names.
template <class F>
void dispatch(DType dtype, const F& f) {
  switch (dtype) {
    case DType::float32:
      return f(float());
    case DType::float64:
      return f(double());
    case DType::bfloat16:
      return f(bfloat16());
  }
}

}  // namespace effebm::inline EFFEBM_ISA::core
