// How the CPU kernels walk a row: in chunks that stay in the first-level cache.
#pragma once

#include <type_traits>

#include "../core/canonical_sum.h"
#include "../core/clip.h"
#include "../core/dtype.h"

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
  Clip clip = Clip::none;
  A limit = 0;  // of clip by value, or the row's factor of clip by norm

  A at(int64_t i) const {
    const A g = clipped(clip, widen(values[i]), limit);
    return residual ? g + residual[i] : g;
  }

  // u of elements begin .. begin + n - 1, n <= kChunk: in `room`, or where it already is.
  const A* load(int64_t begin, int n, A* room) const {
    const T* v = values + begin;
    if constexpr (std::is_same_v<T, A>)
      if (clip == Clip::none && !residual) return v;
    for (int i = 0; i < n; ++i) room[i] = widen(v[i]);
    if (clip == Clip::value)
      for (int i = 0; i < n; ++i) room[i] = clamp(room[i], -limit, limit);
    if (clip == Clip::norm)
      for (int i = 0; i < n; ++i) room[i] = room[i] * limit;
    if (residual)
      for (int i = 0; i < n; ++i) room[i] = room[i] + residual[begin + i];
    return room;
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
