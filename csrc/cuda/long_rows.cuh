// What the phases of a Top-k of long rows share: the state of a row's search, the bracket from a
// sample of the row, and the tiles that are classified by it.
#pragma once

#include "row_selection.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// A row's search. The threshold's key is in [floor, ceiling), where `possible` keys are; `above`
// keys are larger. The bracket is [low, high]; the counts are those of all keys of the row.
template <class A>
struct LongRow {
  Key<A> floor, ceiling, low, high;
  uint32_t above, possible;
  uint32_t over, at_high, inside, at_low;  // inside: low < key < high
};

// The memory that the phases share.
template <class A>
struct LongRows {
  LongRow<A>* rows;
  Cutoff<A>* cutoffs;
  Key<A>* keys;         // (rows, list_size): keys inside the brackets
  uint32_t* positions;  // (rows, list_size): and where they are
  uint32_t* tile_ties;  // (rows, tiles): how many keys equal high, and low in the upper half
  int64_t list_size, tiles;
};

// Scrambles a number, so that a sample does not follow the pattern of a row (the finaliser of A.
// Appleby's MurmurHash3).
inline __device__ uint32_t scramble(uint32_t v) {
  v = (v ^ v >> 16) * 0x85EBCA6Bu;
  v = (v ^ v >> 13) * 0xC2B2AE35u;
  return v ^ v >> 16;
}

// Brackets the threshold between two ranks of a sample of the row's keys in [floor, ceiling), and
// sets the counts to zero. All threads of a block call it with the same row; each round has another
// sample.
template <class Op>
__device__ void bracket_row(const typename Op::Params& p, int64_t r, uint32_t k, uint32_t round,
                            const Expectation& expected, LongRow<typename Op::A>& row) {
  using A = typename Op::A;
  RowGroup group(threads());
  A u[kHeldQuads][kQuad] = {};
  uint32_t valid = 0;
  const uint32_t quads = uint32_t((p.dim + kQuad - 1) / kQuad);
  const uint32_t most = quads / kSampleShare;
#pragma unroll
  for (int q = 0; q < kHeldQuads; ++q) {
    const uint32_t number = uint32_t(q) * unsigned(threads()) + threadIdx.x;
    if (number >= most) continue;
    const uint32_t word = scramble(number + scramble(uint32_t(r) + scramble(round)));
    const int64_t begin = int64_t(__umulhi(word, quads)) * kQuad;
    const Place place = {r, begin, r * p.dim + begin, elements_left(p.dim - begin, kQuad)};
    Op::values(p, place, Op::input(p, place), u[q]);
    for (int i = 0; i < kQuad; ++i) {
      const Key<A> key = order_key(u[q][i]);
      const bool is_valid = i < place.n && row.floor <= key && key < row.ceiling;
      valid += is_valid;
      if (!is_valid) u[q][i] = A(0);
    }
  }
  valid = group.sum(valid);
  const HeldValues<A> sample = {u, group};
  const uint32_t size = uint32_t(threads()) * kHeld;
  const float share = divide(float(k - row.above), float(row.possible));
  const float rank = share * float(valid);
  const float reach = kBracketWidth * core::sqrt(rank * (1 - share)) + kBracketWidth;
  const auto key_of_rank = [&](float at, Key<A> otherwise) {
    if (!(at >= 1 && at <= float(valid) && at < float(size))) return otherwise;
    return find_threshold<A>(group, sample, size, uint32_t(at), expected).low();
  };
  Key<A> high = key_of_rank(rank - reach, row.ceiling - 1);
  Key<A> low = key_of_rank(rank + reach, row.floor);
  if (valid == 0) low = high = row.floor + (row.ceiling - row.floor) / 2;
  row.low = low < row.floor ? row.floor : low;
  row.high = high >= row.ceiling ? row.ceiling - 1 : high < row.low ? row.low : high;
  row.over = row.at_high = row.inside = row.at_low = 0;
}

// The elements of a row that a thread has in the tile at `start`: its q-th quad. Threads beyond the
// first kThreads have none.
inline __device__ Place place_in_tile(int64_t row, int64_t start, int q, int64_t dim) {
  const int64_t begin = start + (int64_t(q) * kThreads + int(threadIdx.x)) * kQuad;
  const int n = int(threadIdx.x) < kThreads ? elements_left(dim - begin, kQuad) : 0;
  return {row, begin, row * dim + begin, n};
}

// Counts a tile's keys, and lists those inside the bracket, in any order. All threads of a block
// call it.
template <class Op>
__device__ void classify_tile(const typename Op::Params& p, const LongRows<typename Op::A>& rows,
                              int64_t r, Key<typename Op::A> low, Key<typename Op::A> high,
                              int64_t tile) {
  using A = typename Op::A;
  EFFEBM_SHARED(uint32_t, totals, 4);  // from high and low on, two in a word; inside; list's begin
  typename Op::Input input[kTileQuads] = {};
#pragma unroll
  for (int q = 0; q < kTileQuads; ++q)
    if (const Place place = place_in_tile(r, tile * kLongTile, q, p.dim); place.n > 0)
      input[q] = Op::input(p, place);
  if (threadIdx.x < 4) totals[threadIdx.x] = 0;
  __syncthreads();
  Key<A> keys[kTileQuads][kQuad];
  uint32_t from_high = 0, from_low = 0, inside = 0;
#pragma unroll
  for (int q = 0; q < kTileQuads; ++q) {
    const Place place = place_in_tile(r, tile * kLongTile, q, p.dim);
    A u[kQuad] = {};
    if (place.n > 0) Op::values(p, place, input[q], u);
    for (int i = 0; i < kQuad; ++i) {
      const Key<A> key = keys[q][i] = order_key(u[i]);
      if (i >= place.n) continue;
      from_high += uint32_t(key > high) + (uint32_t(key >= high) << 16);
      from_low += uint32_t(key > low) + (uint32_t(key >= low) << 16);
      inside += key > low && key < high;
    }
  }
  const uint32_t from_high_of_warp = __reduce_add_sync(kAllLanes, from_high);
  const uint32_t from_low_of_warp = __reduce_add_sync(kAllLanes, from_low);
  if (lane() == 0) {
    atomicAdd(&totals[0], from_high_of_warp);
    atomicAdd(&totals[1], from_low_of_warp);
  }
  uint32_t slot = inside > 0 ? atomicAdd(&totals[2], inside) : 0;
  __syncthreads();
  LongRow<A>& row = rows.rows[r];
  if (threadIdx.x == 0) {
    const uint32_t over = totals[0] & 0xFFFFu, at_high = (totals[0] >> 16) - over;
    const uint32_t at_low = low < high ? (totals[1] >> 16) - (totals[1] & 0xFFFFu) : 0;
    rows.tile_ties[r * rows.tiles + tile] = at_high | at_low << 16;
    if (over) atomicAdd(&row.over, over);
    if (at_high) atomicAdd(&row.at_high, at_high);
    if (at_low) atomicAdd(&row.at_low, at_low);
    if (totals[2]) totals[3] = atomicAdd(&row.inside, totals[2]);
  }
  __syncthreads();
  if (inside == 0) return;
  slot += totals[3];
#pragma unroll
  for (int q = 0; q < kTileQuads; ++q) {
    const Place place = place_in_tile(r, tile * kLongTile, q, p.dim);
    for (int i = 0; i < kQuad; ++i) {
      if (i >= place.n || keys[q][i] <= low || keys[q][i] >= high) continue;
      if (slot < rows.list_size) {
        rows.keys[r * rows.list_size + slot] = keys[q][i];
        rows.positions[r * rows.list_size + slot] = uint32_t(place.begin) + uint32_t(i);
      }
      ++slot;
    }
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
