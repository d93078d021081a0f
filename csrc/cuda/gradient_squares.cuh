// The sums of squares of a gradient by groups of 1024, for clip by norm: this needs the sum of a
// whole row before the row's first element can move.
#pragma once

#include "access.cuh"
#include "flat_index.cuh"
#include "join_groups.cuh"
#include "tile_sums.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class T, bool kVector>
__global__ void __launch_bounds__(kThreads)
    sum_squares(const T* grad, int64_t dim, Compute<T>* sums, FlatIndex index) {
  using A = Compute<T>;
  using Way = Access<kQuad, kVector>;
  const Place place = index.place<Way>(dim);
  T g[kQuad] = {};
  if (place.n > 0) load<Way>(grad + place.at, place.n, g);
  Terms<A> terms[1] = {};
  for (int i = 0; i < kQuad; ++i)
    if (i < place.n) terms[0].of[i] = term(widen(g[i]), widen(g[i]));
  A sum[1];
  tile_sums(terms, index.unit(), sum);
  if (begins_tile(place, index.unit()))
    sums[place.row * groups_of(dim) + place.begin / kSumWidth] = sum[0];
}

template <class T>
void launch_sum_squares(const T* grad, int64_t rows, int64_t dim, Compute<T>* sums, void* stream) {
  constexpr auto vectors = &sum_squares<T, true>, scalars = &sum_squares<T, false>;
  const auto kernel = whole_vectors<T>(grad, dim, kQuad) ? vectors : scalars;
  for_flat_parts(rows, dim, kQuad, unit_of_tiles(dim),
                 [&](const FlatIndex& index, unsigned blocks) {
                   EFFEBM_LAUNCH(kernel, blocks, kThreads, stream, grad, dim, sums, index);
                 });
}

struct AsNormScale {
  double limit;
  template <class A>
  __device__ A operator()(A sum_of_squares) const {
    return norm_scale(sum_of_squares, A(limit));
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
