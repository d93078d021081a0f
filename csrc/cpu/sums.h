// Sums over a row in the canonical order. The threads that share the row sum its groups, and the
// caller adds up these sums.
#pragma once

#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

static_assert(kChunk == kSumWidth);  // a chunk of a row is a group of its sum

// Returns the sum of a row from the sums of its groups.
template <class A>
A sum_of_groups(const A* sums, int64_t groups) {
  return canonical_sum<A>(0, groups, [sums](int64_t at, int n, A* terms) {
    std::copy(sums + at, sums + at + n, terms);
  });
}

// Returns the sum of n terms; load(begin, count, out) writes count <= kChunk of them to out.
template <class A, class Load>
A row_sum(int64_t n, const Team& team, Scratch& scratch, const Load& load) {
  if (team.parts() == 1) return canonical_sum<A>(0, n, load);
  const int64_t groups = (n + kSumWidth - 1) / kSumWidth;
  A* sums = scratch.room<A>(groups);
  team.run(n, kChunk, [&](int, int64_t begin, int64_t end) {
    for_chunks(begin, end, [&](int64_t at, int count) {
      sums[at / kSumWidth] = canonical_sum<A>(at, count, load);
    });
  });
  return sum_of_groups(sums, groups);
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
