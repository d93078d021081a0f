// How the CPU kernels walk a row: in chunks that stay in the first-level cache.
#pragma once

#include "../core/canonical_sum.h"
#include "../core/dtype.h"
#include "../core/langevin_step.h"

// For loops that write what they read at the same index, and nothing else.
#define EFFEBM_INDEPENDENT _Pragma("GCC ivdep")

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

using namespace core;

constexpr int kChunk = 1024;  // a multiple of a batch of noise
static_assert(kChunk <= kSumWidth);

// f(at, n) for the chunks of [begin, end).
template <class F>
void for_chunks(int64_t begin, int64_t end, const F& f) {
  for (int64_t at = begin; at < end; at += kChunk)
    f(at, int(end - at < kChunk ? end - at : kChunk));
}

// The row a compressor sees: u = clip(values) + residual, computed chunk by chunk where needed.
template <class T>
struct RowInput {
  using A = Compute<T>;
  const T* values;
  const A* residual = nullptr;
  bool clipped = false;
  A limit = 0;

  A at(int64_t i) const {
    const A v = widen(values[i]);
    const A g = clipped ? clamp(v, -limit, limit) : v;
    return residual ? g + residual[i] : g;
  }

  // u of elements begin .. begin + n - 1, n <= kChunk: in `room`, or where it already is.
  const A* load(int64_t begin, int n, A* room) const {
    const T* v = values + begin;
    if constexpr (std::is_same_v<T, A>)
      if (!clipped && !residual) return v;
    for (int i = 0; i < n; ++i) room[i] = widen(v[i]);
    if (clipped)
      for (int i = 0; i < n; ++i) room[i] = clamp(room[i], -limit, limit);
    if (residual)
      for (int i = 0; i < n; ++i) room[i] = room[i] + residual[begin + i];
    return room;
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
