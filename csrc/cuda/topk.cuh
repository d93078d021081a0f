// Top-k, one thread block per row: the threshold by counting digits from the top, then one pass
// that keeps what is above it and the first ties.
#pragma once

#include "block.cuh"
#include "resident.cuh"
#include "topk_warps.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits;

// f(begin, n, tile) for this thread's quad of every tile of a row; n = 0 where the row has ended,
// so that all threads come along.
template <class F>
__device__ void for_tiles(int64_t dim, const F& f) {
  for (int64_t tile = 0; tile < dim; tile += kTile) {
    const int64_t begin = tile + int(threadIdx.x) * kQuad;
    const int64_t left = dim - begin;
    f(begin, left <= 0 ? 0 : left < kQuad ? int(left) : kQuad, tile);
  }
}

// The digit that holds the wanted-th largest key, from the digits' counts; subtracts from `wanted`
// what lies above that digit. Every thread calls it.
__device__ inline uint32_t find_digit(const uint32_t* count, uint32_t& wanted) {
  constexpr int kPerThread = kDigits / kThreads;
  EFFEBM_SHARED(uint32_t, found, 2);
  // Thread 0 owns the largest digits.
  const int top = kDigits - 1 - int(threadIdx.x) * kPerThread;
  uint32_t own = 0;
  for (int j = 0; j < kPerThread; ++j) own += count[top - j];
  uint32_t above = block_scan(own).before;
  for (int j = 0; j < kPerThread; ++j) {
    const uint32_t here = count[top - j];
    if (above < wanted && wanted <= above + here) {
      found[0] = uint32_t(top - j);
      found[1] = wanted - above;
    }
    above += here;
  }
  __syncthreads();
  wanted = found[1];
  const uint32_t digit = found[0];
  return digit;
}

template <class Row>
__device__ Selection<typename Row::A> select_topk(const Row& row, int64_t dim, int64_t k) {
  using A = typename Row::A;
  EFFEBM_SHARED(uint32_t, count, kDigits);
  if (k == 0) return {KeyOf<A>::infinity + 1, 0};
  if (k == dim) return {0, dim};
  Key<A> prefix = 0;
  uint32_t wanted = uint32_t(k);
  for (int top = KeyOf<A>::bits; top > 0;) {
    const int shift = top > kDigitBits ? top - kDigitBits : 0;
    const Key<A> mask = (Key<A>(1) << (top - shift)) - 1;
    for (int digit = int(threadIdx.x); digit < kDigits; digit += kThreads) count[digit] = 0;
    __syncthreads();
    for_tiles(dim, [&](int64_t begin, int n, int64_t) {
      if (n == 0) return;
      A u[kQuad];
      row.load(begin, n, u);
      for (int i = 0; i < kQuad; ++i) {
        const Key<A> key = order_key(u[i]);
        if (i < n && key >> top == prefix) atomicAdd(&count[key >> shift & mask], 1u);
      }
    });
    __syncthreads();
    prefix = prefix << (top - shift) | Key<A>(find_digit(count, wanted));
    top = shift;
  }
  return {prefix, int64_t(wanted)};
}

template <class Row, class Params>
__global__ void __launch_bounds__(kThreads) topk_rows(Params p, int64_t k, bool vector) {
  using A = typename Row::A;
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const Row row(p, r, vector);
    const Selection<A> selection = select_topk(row, p.dim, k);
    int64_t ties_before = 0;  // in earlier tiles
    for_tiles(p.dim, [&](int64_t begin, int n, int64_t tile) {
      A u[kQuad] = {}, c[kQuad];
      uint32_t ties = 0;
      if (n > 0) row.read(begin, n, u);
      for (int i = 0; i < kQuad; ++i) ties += i < n && order_key(u[i]) == selection.threshold;
      const Scan scan = block_scan(ties);
      int64_t rank = ties_before + scan.before;
      ties_before += scan.total;
      for (int i = 0; i < kQuad; ++i) {
        const Key<A> key = order_key(u[i]);
        const bool tie = key == selection.threshold;
        c[i] = key > selection.threshold || (tie && rank < selection.ties) ? u[i] : A(0);
        rank += tie;
      }
      if (n > 0) row.put(begin, n, u, c);
      row.end_tile(tile, int(p.dim - tile < kTile ? p.dim - tile : kTile));
    });
  }
}

template <class Row, class Params>
void launch_topk_rows(const Params& p, int64_t k, bool vector, void* stream) {
  using A = typename Row::A;
  constexpr int64_t kStatic = kDigits * sizeof(uint32_t) + 64;
  const bool selects = k > 0 && k < p.dim;  // else the row is read once anyhow
  if constexpr (!Row::kNotes)
    if (selects && p.dim <= kMostQuads * kWarpQuads)
      return p.dim <= kFewQuads * kWarpQuads
                 ? launch_topk_warps<Row, kFewQuads>(p, k, vector, stream)
                 : launch_topk_warps<Row, kMostQuads>(p, k, vector, stream);
  if (selects && is_resident<Row>(p.dim, kStatic)) {
    const int64_t bytes = resident_bytes<A>(p.dim);
    constexpr auto kernel = &topk_rows<Resident<Row>, Params>;
    cuda::allow_shared_memory(kernel, bytes);
    EFFEBM_LAUNCH_SHARED(kernel, grid_for(p.rows), kThreads, bytes, stream, p, k, vector);
  } else {
    constexpr auto kernel = &topk_rows<Row, Params>;
    EFFEBM_LAUNCH(kernel, grid_for(p.rows), kThreads, stream, p, k, vector);
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
