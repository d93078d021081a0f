// The op that only compresses: out = C(x), row by row.
#include "compressors.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

template <class T, template <class> class RowCompressor>
void compress_rows(const CompressParams& p, const Threads& threads) {
  using A = Compute<T>;
  for_rows<kCompress>(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch& scratch) {
    const RowInput<T> input{static_cast<const T*>(p.x) + r * p.dim};
    T* out = static_cast<T*>(p.out) + r * p.dim;
    const RowCompressor<T> compressor(input, p.dim, p, r, team, scratch);
    team.run(p.dim, kChunk, [&](int part, int64_t begin, int64_t end) {
      typename RowCompressor<T>::Walk walk(compressor, part, begin);
      for_chunks(begin, end, [&](int64_t at, int n) {
        A u[kChunk], c[kChunk];
        const A* compressed = walk.compress(at, n, input.load(at, n, u), c);
        for (int i = 0; i < n; ++i) out[at + i] = narrow<T>(compressed[i]);
      });
    });
  });
}

}  // namespace

void compress(const CompressParams& p, const Execution& on) {
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_compressor(p.compressor, [&]<template <class> class RowCompressor>() {
      compress_rows<T, RowCompressor>(p, on.threads);
    });
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
