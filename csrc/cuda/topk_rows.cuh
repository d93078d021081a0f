// Top-k of rows that their threads hold in registers. A row of up to 1024 elements has some lanes
// of a warp, and a longer one a thread block. Memory is read once.
#pragma once

#include "row_selection.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// `cutoffs`: the kernel leaves the rows' cutoffs there and does nothing else. Null: it does what
// the op is for.
template <class Op, bool kMoves>
__global__ void __launch_bounds__(kMostRowThreads<typename Op::A>, 1)
    topk_rows(typename Op::Params p, int64_t k, int threads_of_row, Expectation expected,
              Cutoff<typename Op::A>* cutoffs) {
  using A = typename Op::A;
  RowGroup group(threads_of_row);
  const int64_t row = int64_t(blockIdx.x) * (int(blockDim.x) / threads_of_row) + group.row();
  const int size = row < p.rows ? int(p.dim) : 0;
  A u[kHeldQuads][kQuad] = {};
  const HeldValues<A> values = {u, group};
  const auto place_of = [&](int q) -> Place {
    const int begin = values.begin(q);
    return {row, begin, row * p.dim + begin, elements_left(size - begin, kQuad)};
  };
  typename Op::Input input[kHeldQuads];
#pragma unroll
  for (int q = 0; q < kHeldQuads; ++q)
    if (const Place place = place_of(q); place.n > 0) input[q] = Op::input(p, place);
#pragma unroll
  for (int q = 0; q < kHeldQuads; ++q)
    if (const Place place = place_of(q); place.n > 0) Op::values(p, place, input[q], u[q]);

  const auto search = find_threshold<A>(group, values, uint32_t(p.dim), uint32_t(k), expected);
  const Cutoff<A> cutoff = cutoff_of<A>(group, values, search, p.dim);
  if constexpr (!kMoves) {
    if (group.thread() == 0 && row < p.rows) cutoffs[row] = cutoff;
  } else {
#pragma unroll
    for (int q = 0; q < kHeldQuads; ++q) {
      const Place place = place_of(opaque(q));
      if (place.n == 0) continue;
      typename Op::State state = Op::state(p, place);
      A c[kQuad];
      cutoff.keep(u[q], uint32_t(place.begin), c);
      Op::put(p, place, input[q], state, u[q], c);
    }
  }
}

// Returns how many threads share a row: few, so that each has several quads, but two at least, to
// read 32 bytes of a row at a time.
inline int threads_of_row(int64_t dim) {
  const int64_t quads = (dim + kQuad - 1) / kQuad;
  int threads = quads > 1 ? 2 : 1;
  while (threads < kWarpSize && threads * kHeldQuads < quads) threads *= 2;
  if (threads * kHeldQuads >= quads) return threads;
  const int64_t of_warp = kHeldQuads * kWarpSize;
  return int((quads + of_warp - 1) / of_warp) * kWarpSize;
}

template <class Op, bool kMoves>
void launch_topk_rows(const typename Op::Params& p, int64_t k, const Expectation& expected,
                      Cutoff<typename Op::A>* cutoffs, void* stream) {
  constexpr auto kernel = &topk_rows<Op, kMoves>;
  const int of_row = threads_of_row(p.dim), threads = of_row > kWarpSize ? of_row : kThreads;
  const int64_t at_once = threads / of_row;
  EFFEBM_LAUNCH(kernel, unsigned((p.rows + at_once - 1) / at_once), threads, stream, p, k, of_row,
                expected, cutoffs);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
