// The one order in which this library adds up floating-point numbers.
//
// Among up to 1024 terms, position i is added to position i + 512, then i + 256, ... , then i + 1,
// with +0 where a term is missing. If there are more terms, the sums of consecutive groups of 1024
// are the terms of the next round. A vector of 2, 4, 8 or 16 lanes, a warp and a thread block all
// reach this order without moving data.
#pragma once

#include "arith.h"

namespace effebm::inline EFFEBM_ISA::core {

constexpr int kSumWidth = 1024;

EFFEBM_HD int64_t groups_of(int64_t terms) { return (terms + kSumWidth - 1) / kSumWidth; }

// Returns a * b as a term of a canonical sum: never -0.
template <class A>
EFFEBM_HD A term(A a, A b) {
  return a * b + A(0);
}

// Returns the sum of v[0..kWidth), which it overwrites. The compiler knows the width and makes
// vector code of this.
template <int kWidth, class A>
EFFEBM_HD A halving_sum(A* v) {
  if constexpr (kWidth == 1) {
    return v[0];
  } else {
    for (int i = 0; i < kWidth / 2; ++i) v[i] = v[i] + v[i + kWidth / 2];
    return halving_sum<kWidth / 2>(v);
  }
}

// Returns the sum of v[0..n), n <= kWidth, which it overwrites; v must have room up to the next
// power of two. Terms must not be -0 (add +0 first), or the padding would show.
template <class A, int kWidth = kSumWidth>
EFFEBM_HD A halving_sum(A* v, int n) {
  if constexpr (kWidth > 1)
    if (n <= kWidth / 2) return halving_sum<A, kWidth / 2>(v, n);
  for (int i = n; i < kWidth; ++i) v[i] = A(0);
  return halving_sum<kWidth>(v);
}

// Returns the sum of n terms; load(begin, count, out) writes terms begin .. begin + count - 1 to
// out.
template <class A, class Load>
A canonical_sum(int64_t begin, int64_t n, const Load& load) {
  A terms[kSumWidth];
  terms[0] = A(0);
  if (n <= kSumWidth) {
    load(begin, int(n), terms);
    return halving_sum(terms, int(n));
  }
  int64_t group = kSumWidth;
  while (group * kSumWidth < n) group *= kSumWidth;
  int count = 0;
  for (int64_t i = 0; i < n; i += group)
    terms[count++] = canonical_sum<A>(begin + i, n - i < group ? n - i : group, load);
  return halving_sum(terms, count);
}

}  // namespace effebm::inline EFFEBM_ISA::core
