// Top-k of rows too long for a thread block's registers, all rows in each phase:
//   1. bracket_rows: a sample of each row gives a bracket that should hold its threshold;
//   2. classify_rows: one pass counts the keys beyond the bracket and lists those inside it;
//   3. select_from_lists: a thread block per row finds the cutoff. Where the bracket does not hold
//      the threshold, or the list not the bracket, the block repeats 1 and 2 with what the counts
//      have shown, until they do.
// Many equal keys cannot fill a list, because keys that equal an end of the bracket are only
// counted. A flat kernel then keeps what the cutoffs say.
#pragma once

#include "long_rows.cuh"
#include "workspace.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class Op>
__global__ void __launch_bounds__(kMostRowThreads<typename Op::A>, 1)
    bracket_rows(typename Op::Params p, int64_t k, Expectation expected,
                 LongRows<typename Op::A> rows) {
  using A = typename Op::A;
  const int64_t r = blockIdx.x;
  LongRow<A> row = {0, KeyOf<A>::infinity + 2, 0, 0, 0, uint32_t(p.dim), 0, 0, 0, 0};
  bracket_row<Op>(p, r, uint32_t(k), 0, expected, row);
  if (threadIdx.x == 0) rows.rows[r] = row;
}

template <class Op>
__global__ void __launch_bounds__(kThreads, Op::kBlocks / 2)
    classify_rows(typename Op::Params p, LongRows<typename Op::A> rows) {
  const int64_t r = blockIdx.x / rows.tiles, tile = blockIdx.x - r * rows.tiles;
  classify_tile<Op>(p, rows, r, rows.rows[r].low, rows.rows[r].high, tile);
}

// Returns the end of the first `wanted` keys of the row that equal an end of its bracket: whose
// numbers tile_ties has in the upper half (shift 16) or the lower one. Thread blocks call it.
template <class Op>
__device__ uint32_t end_of_ties_by_tiles(const typename Op::Params& p,
                                         const LongRows<typename Op::A>& rows, int64_t r,
                                         Key<typename Op::A> threshold, int shift,
                                         uint32_t wanted) {
  using A = typename Op::A;
  EFFEBM_SHARED(uint32_t, found, 2);
  for (int64_t first = 0; wanted > 0; first += threads()) {
    const int64_t tile = first + int(threadIdx.x);
    const uint32_t own =
        tile < rows.tiles ? rows.tile_ties[r * rows.tiles + tile] >> shift & 0xFFFFu : 0;
    const Scan scan = block_scan(own);
    if (scan.before < wanted && wanted <= scan.before + own) {
      found[0] = uint32_t(tile);
      found[1] = wanted - scan.before;
    }
    wanted = wanted > scan.total ? wanted - scan.total : 0;
  }
  __syncthreads();
  const int64_t start = int64_t(found[0]) * kLongTile;
  uint32_t left = found[1];
  __syncthreads();  // all have read what the thread with the last tie overwrites
  for (int q = 0; left > 0; ++q) {
    const Place place = place_in_tile(r, start, q, p.dim);
    A u[kQuad] = {};
    if (place.n > 0) Op::values(p, place, Op::input(p, place), u);
    uint32_t own = 0;
    for (int i = 0; i < kQuad; ++i) own += i < place.n && order_key(u[i]) == threshold;
    const Scan scan = block_scan(own);
    uint32_t rank = scan.before;
    for (int i = 0; i < kQuad; ++i)
      if (i < place.n && order_key(u[i]) == threshold && ++rank == left)
        found[0] = uint32_t(place.begin) + uint32_t(i) + 1;
    left = left > scan.total ? left - scan.total : 0;
  }
  __syncthreads();
  return found[0];
}

// Narrows the row's interval to where its counts say that the threshold is. False if it equals an
// end of the bracket, or is inside, with a list that holds all keys of the bracket.
template <class A>
__device__ bool narrows(LongRow<A>& row, uint32_t k, int64_t list_size) {
  const uint32_t from_high = row.over + row.at_high, from_inside = from_high + row.inside;
  const uint32_t from_low = from_inside + row.at_low;
  if (k <= row.over) {
    row.floor = row.high + 1;
    row.possible = row.over - row.above;
  } else if (k > from_low) {
    row.ceiling = row.low;
    row.possible -= from_low - row.above;
    row.above = from_low;
  } else if (k > from_high && k <= from_inside && row.inside > list_size) {
    row.floor = row.low + 1;
    row.ceiling = row.high;
    row.possible = row.inside;
    row.above = from_high;
  } else {
    return false;
  }
  return true;
}

template <class Op>
__global__ void __launch_bounds__(kMostRowThreads<typename Op::A>, 1)
    select_from_lists(typename Op::Params p, int64_t k, Expectation expected,
                      LongRows<typename Op::A> rows) {
  using A = typename Op::A;
  const int64_t r = blockIdx.x;
  LongRow<A> row = rows.rows[r];
  for (uint32_t round = 1; narrows(row, uint32_t(k), rows.list_size); ++round) {
    bracket_row<Op>(p, r, uint32_t(k), round, expected, row);
    __syncthreads();  // all have read the counts of the round before
    if (threadIdx.x == 0) rows.rows[r] = row;
    __syncthreads();
    for (int64_t tile = 0; tile < rows.tiles; ++tile) {
      classify_tile<Op>(p, rows, r, row.low, row.high, tile);
      __syncthreads();
    }
    row = rows.rows[r];
  }
  const uint32_t from_high = row.over + row.at_high, from_inside = from_high + row.inside;
  Cutoff<A> cutoff = {row.high, kAllTies};
  if (k > from_high && k <= from_inside) {
    RowGroup group(threads());
    const ListedKeys<A> list = {rows.keys + r * rows.list_size, rows.positions + r * rows.list_size,
                                row.inside, group};
    const uint32_t wanted = uint32_t(k) - from_high;
    const float share = divide(float(wanted), float(row.inside));
    const Key<A> first = row.high - Key<A>(float(row.high - row.low) * share);
    ThresholdSearch<A> search(row.inside, wanted, row.low + 1, row.high, first, expected.slope);
    search_threshold(group, list, search);
    cutoff = cutoff_of<A>(group, list, search, p.dim);
  } else {
    const bool is_high = k <= from_high;
    const uint32_t before = is_high ? row.over : from_inside;
    const uint32_t ties = is_high ? row.at_high : row.at_low, wanted = uint32_t(k) - before;
    cutoff.least = is_high ? row.high : row.low;
    if (wanted < ties)
      cutoff.end_of_ties =
          end_of_ties_by_tiles<Op>(p, rows, r, cutoff.least, is_high ? 0 : 16, wanted);
  }
  if (threadIdx.x == 0) rows.cutoffs[r] = cutoff;
}

template <class A>
LongRows<A> long_rows(int64_t rows, int64_t dim, Cutoff<A>* cutoffs, cuda::Workspace& space) {
  const int64_t list_size = dim / kListShare + kListReserve;
  const int64_t tiles = (dim + kLongTile - 1) / kLongTile;
  return {space.take<LongRow<A>>(rows),
          cutoffs,
          space.take<Key<A>>(rows * list_size),
          space.take<uint32_t>(rows * list_size),
          space.take<uint32_t>(rows * tiles),
          list_size,
          tiles};
}

// Leaves the rows' cutoffs in rows.cutoffs.
template <class Op>
void launch_topk_long(const typename Op::Params& p, int64_t k, const Expectation& expected,
                      const LongRows<typename Op::A>& rows, void* stream) {
  using A = typename Op::A;
  constexpr auto bracket = &bracket_rows<Op>;
  constexpr auto classify = &classify_rows<Op>;
  constexpr auto select = &select_from_lists<Op>;
  const int samplers = p.dim < kManySamples ? kFewSamplers : kMostRowThreads<A>;
  EFFEBM_LAUNCH(bracket, unsigned(p.rows), samplers, stream, p, k, expected, rows);
  EFFEBM_LAUNCH(classify, unsigned(p.rows * rows.tiles), kThreads, stream, p, rows);
  EFFEBM_LAUNCH(select, unsigned(p.rows), kMostRowThreads<A>, stream, p, k, expected, rows);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
