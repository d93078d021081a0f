// Random-k: the Top-k kernels choose among the random words of the rows, which they draw where
// other rows are read, and mark the chosen ones; then tile by tile the marked elements are kept.
#pragma once

#include "../core/random_k.h"
#include "topk_launch.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Rows of random words, and the marks of the chosen ones.
struct ChoiceParams : CompressorParams {
  int64_t rows, dim;
  uint8_t* marks;  // (rows, quads_of(dim)): bit i is for element i of the quad
};

EFFEBM_HD int64_t quads_of(int64_t dim) { return (dim + kQuad - 1) / kQuad; }

// A row of random words, as the Top-k kernels see it.
class ChoiceRow {
 public:
  using A = float;
  static constexpr int kSharedSums = 0;

  __device__ ChoiceRow(const ChoiceParams& p, int64_t r, bool, const Slice& = {})
      : stream_(stream_of(p, Purpose::compression)),
        chain_(chain_of(p, r)),
        marks_(p.marks + r * quads_of(p.dim)) {}

  using Fetched = Words;
  __device__ Fetched fetch(int64_t begin, int) const {
    return draw(stream_, chain_, uint32_t(begin / kQuad));
  }
  __device__ void load(const Fetched& words, A (&u)[kQuad]) const {
    for (int i = 0; i < kQuad; ++i) u[i] = random_magnitude(words.w[i]);
  }
  __device__ void load(int64_t begin, int n, A (&u)[kQuad]) const { load(fetch(begin, n), u); }
  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const { load(begin, n, u); }

  __device__ void put(int64_t begin, int, const A (&)[kQuad], const A (&c)[kQuad]) const {
    uint32_t marks = 0;
    for (int i = kQuad - 1; i >= 0; --i) marks = marks << 1 | uint32_t(c[i] != A(0));
    marks_[begin / kQuad] = uint8_t(marks);
  }

  __device__ void end_tile(int64_t, int64_t) const {}
  __device__ void end_tile(int64_t, int64_t, const Band&) const {}
  static __device__ bool sums_on_read() { return false; }

 private:
  Stream stream_;
  uint32_t chain_;
  uint8_t* marks_;
};

struct KeepMarked {
  const uint8_t* marks;

  template <class A>
  struct OfRow {
    const uint8_t* marks;
    A factor;

    __device__ void operator()(int64_t begin, int n, const A (&u)[kQuad], A (&c)[kQuad]) const {
      if (n == 0) return;
      const uint32_t quad = marks[begin / kQuad];
      for (int i = 0; i < kQuad; ++i) c[i] = quad >> i & 1 ? u[i] * factor : A(0);
    }
  };

  template <class A, class Params>
  __device__ OfRow<A> of_row(const Params& p, int64_t r) const {
    return {marks + r * quads_of(p.dim), random_k_factor<A>(p, p.dim)};
  }
};

template <class Row>
class RandomKLaunch {
 public:
  RandomKLaunch() = default;

  template <class Params>
  RandomKLaunch(const Params& p, cuda::Workspace& space)
      : choice_{p, p.rows, p.dim, space.take<uint8_t>(p.rows * quads_of(p.dim))},
        choose_(choice_, space) {}

  template <class Params>
  void run(const Params& p, bool vector, void* stream) const {
    choose_.run(choice_, true, stream);
    launch_tiles<Row>(p, KeepMarked{choice_.marks}, vector, stream);
  }

 private:
  ChoiceParams choice_ = {};
  TopkLaunch<ChoiceRow> choose_;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
