// Compressions that look at one element, and perhaps its random word.
#pragma once

#include "../core/random_block.h"
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

struct KeepBlock {
  static constexpr bool kCollective = false;
  int unit(int) const { return 1; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params& p, const Place& place, const A (&u)[N],
                             A (&c)[N]) const {
    const RandomBlock block(p, place.row, p.dim);
    for (int i = 0; i < N; ++i) c[i] = block.holds(place.begin + i) ? u[i] : A(0);
  }
};

// The random words of a quad for its compression.
template <class Params>
__device__ Words compression_words(const Params& p, const Place& place) {
  return draw(stream_of(p, Purpose::compression), chain_of(p, place.row),
              uint32_t(place.begin / kQuad));
}

template <template <class> class Element>
struct ByElement {
  static constexpr bool kCollective = false;
  int unit(int) const { return 1; }

  template <class A, class Params>
  __device__ void operator()(const Params& p, const Place& place, const A (&u)[kQuad],
                             A (&c)[kQuad]) const {
    const Element<A> element(p.compressor_size);
    const Words words = compression_words(p, place);
    for (int i = 0; i < kQuad; ++i) c[i] = element(u[i], words.w[i]);
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
