// Top-k of a row: magnitudes as integers, so that comparing, counting and tie-breaking are exact.
#pragma once

#include "arith.h"
#include "dtype.h"

namespace effebm::inline EFFEBM_ISA::core {

template <class A>
struct KeyOf;
template <>
struct KeyOf<float> {
  using type = uint32_t;
  static constexpr int bits = 31;
  static constexpr type infinity = 0x7F800000u;
};
template <>
struct KeyOf<double> {
  using type = uint64_t;
  static constexpr int bits = 63;
  static constexpr type infinity = 0x7FF0000000000000u;
};
template <class A>
using Key = typename KeyOf<A>::type;

// |v| as an integer: -0 equals +0, denormals count, every NaN has the one key above infinity.
template <class A>
EFFEBM_HD Key<A> order_key(A v) {
  const Key<A> magnitude = to_bits(v) & (~Key<A>(0) >> 1);
  return magnitude > KeyOf<A>::infinity ? KeyOf<A>::infinity + 1 : magnitude;
}

// A rule that picks exactly k entries of a row: all keys above `threshold`, and the first `ties`,
// in index order, of the keys equal to it.
template <class A>
struct Selection {
  Key<A> threshold;
  int64_t ties;
};

}  // namespace effebm::inline EFFEBM_ISA::core
