// The ops that only compress: out = C(x), row by row. A RowCompressor is built from the whole row;
// each thread then walks through its part of it, chunk by chunk.
#pragma once

#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

// `options` are the compressor's own: k, or the blocks.
template <template <class> class RowCompressor, class Params, class Options>
void compress_rows(const Params& p, const Options& options, const Threads& threads) {
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    using A = Compute<T>;
    for_rows(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch& scratch) {
      const RowInput<T> input{static_cast<const T*>(p.x) + r * p.dim};
      T* out = static_cast<T*>(p.out) + r * p.dim;
      const RowCompressor<T> compressor(input, p.dim, options, team, scratch);
      team.run(p.dim, kChunk, [&](int part, int64_t begin, int64_t end) {
        typename RowCompressor<T>::Walk walk(compressor, part, begin);
        for_chunks(begin, end, [&](int64_t at, int n) {
          A u[kChunk], c[kChunk];
          const A* compressed = walk.compress(at, n, input.load(at, n, u), c);
          for (int i = 0; i < n; ++i) out[at + i] = narrow<T>(compressed[i]);
        });
      });
    });
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
