// Compressors of elements, each with its random word.
#pragma once

#include "tiles.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <template <class> class Element>
struct ByElement {
  // What a thread sets up once for a row.
  template <class A>
  struct OfRow {
    Element<A> element;
    Stream stream;
    uint32_t chain;

    __device__ void operator()(int64_t begin, int n, const A (&u)[kQuad], A (&c)[kQuad]) const {
      if (n == 0) return;
      const Words words = draw(stream, chain, uint32_t(begin / kQuad));
      for (int i = 0; i < kQuad; ++i) c[i] = element(u[i], words.w[i]);
    }
  };

  template <class A, class Params>
  __device__ OfRow<A> of_row(const Params& p, int64_t r) const {
    return {Element<A>(p.compressor_size), stream_of(p, Purpose::compression), chain_of(p, r)};
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
