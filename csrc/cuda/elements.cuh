// Compressions that look at one element, and perhaps its random word.
#pragma once

#include "flat_index.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct KeepAll {
  static constexpr bool kCollective = false;
  int unit(int) const { return 1; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params&, const Place&, const A (&u)[N], A (&c)[N]) const {
    for (int i = 0; i < N; ++i) c[i] = u[i];
  }
};

template <template <class> class Element>
struct ByElement {
  static constexpr bool kCollective = false;
  int unit(int) const { return 1; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params& p, const Place& place, const A (&u)[N],
                             A (&c)[N]) const {
    const Element<A> element(p.compressor_size);
    const Stream stream = stream_of(p, Purpose::compression);
    for (int q = 0; q < N / kQuad; ++q) {
      const Words words =
          draw(stream, chain_of(p, place.row), uint32_t(place.begin / kQuad) + uint32_t(q));
      for (int i = 0; i < kQuad; ++i) c[q * kQuad + i] = element(u[q * kQuad + i], words.w[i]);
    }
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
