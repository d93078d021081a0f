// What a selection of a row's k largest leaves behind, and the flat kernels that keep them.
#pragma once

#include "../core/random_k.h"
#include "../core/topk.h"
#include "elements.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

constexpr uint32_t kAllTies = ~0u;

// A rule that keeps exactly k entries of a row: all keys above `least`, and the keys equal to it at
// positions before `end_of_ties`. It keeps nothing if there is no key so large.
template <class A>
struct Cutoff {
  Key<A> least;
  uint32_t end_of_ties;

  EFFEBM_HD bool keeps(A u, uint32_t position) const {
    const Key<A> key = order_key(u);
    return key > least || (key == least && position < end_of_ties);
  }

  // Sets c to what is kept of neighbouring values. Where no ties are cut, a comparison of values
  // spares the work of making keys; one with NaN is false.
  template <int N>
  EFFEBM_HD void keep(const A (&u)[N], uint32_t position, A (&c)[N]) const {
    if (end_of_ties == kAllTies && least <= KeyOf<A>::infinity) {
      const A limit = from_bits(least);
      for (int i = 0; i < N; ++i) c[i] = core::abs(u[i]) < limit ? A(0) : u[i];
    } else {
      for (int i = 0; i < N; ++i) c[i] = keeps(u[i], position + uint32_t(i)) ? u[i] : A(0);
    }
  }
};

template <class A>
constexpr Cutoff<A> kKeepNothing = {KeyOf<A>::infinity + 2, 0};

// Top-k of rows whose cutoffs are known. Without cutoffs it keeps nothing.
struct KeepSelected {
  static constexpr bool kCollective = false;
  const void* cutoffs;  // Cutoff<A>, one per row; or null

  int unit(int) const { return 1; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params&, const Place& place, const A (&u)[N], A (&c)[N]) const {
    const Cutoff<A> cutoff =
        cutoffs ? static_cast<const Cutoff<A>*>(cutoffs)[place.row] : kKeepNothing<A>;
    cutoff.keep(u, uint32_t(place.begin), c);
  }
};

// Random-k: the cutoffs are those of the rows' random words, which are drawn again here.
struct KeepByWords {
  static constexpr bool kCollective = false;
  const Cutoff<float>* cutoffs;

  int unit(int) const { return 1; }

  template <class A, class Params>
  __device__ void operator()(const Params& p, const Place& place, const A (&u)[kQuad],
                             A (&c)[kQuad]) const {
    const Cutoff<float> cutoff = cutoffs[place.row];
    const A factor = random_k_factor<A>(p, p.dim);
    const Words words = compression_words(p, place);
    for (int i = 0; i < kQuad; ++i) {
      const uint32_t position = uint32_t(place.begin) + uint32_t(i);
      c[i] = cutoff.keeps(random_magnitude(words.w[i]), position) ? u[i] * factor : A(0);
    }
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
