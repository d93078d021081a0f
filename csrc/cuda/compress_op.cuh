// What flat kernels and row kernels do to elements for the op `compress`, and the form that such an
// "Op" has. Its static functions are called in this order:
//   input(p, place)         asks memory for what the compressor needs
//   state(p, place)         asks for the rest, and draws the noise
//   values(p, place, input, u)          u is what is compressed
//   value(p, row, i)                  is u of one element, for kernels that have no quads
//   put(p, place, input, state, u, c)   does with the compressed c what the op is for
// A place has at least one element. kHasSums: put() returns terms of sums over rows, which
// add_up(p, place, terms, width) adds up; all threads call it.
#pragma once

#include "../core/compressors.h"
#include "access.cuh"
#include "flat_index.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class T, class Access_>
struct CompressOp {
  using A = Compute<T>;
  using Params = CompressParams;
  using Access = Access_;
  static constexpr int N = Access::kElements;
  static constexpr bool kHasSums = false;
  static constexpr int kBlocks = kThreadsAtOnce / kThreads * int(sizeof(float)) / int(sizeof(A));

  struct Input {
    T v[N];
  };
  struct State {};

  static __device__ Input input(const Params& p, const Place& place) {
    Input in = {};
    load<Access>(static_cast<const T*>(p.x) + place.at, place.n, in.v);
    return in;
  }

  static __device__ State state(const Params&, const Place&) { return {}; }

  static __device__ void values(const Params&, const Place&, const Input& in, A (&u)[N]) {
    for (int i = 0; i < N; ++i) u[i] = widen(in.v[i]);
  }

  static __device__ A value(const Params& p, int64_t row, int64_t i) {
    return widen(static_cast<const T*>(p.x)[row * p.dim + i]);
  }

  static __device__ void put(const Params& p, const Place& place, const Input&, const State&,
                             const A (&)[N], const A (&c)[N]) {
    T v[N];
    for (int i = 0; i < N; ++i) v[i] = narrow<T>(c[i]);
    store<Access>(static_cast<T*>(p.out) + place.at, place.n, v);
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
