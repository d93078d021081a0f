#include "../core/packing.h"
#include "access.cuh"
#include "block_offsets.cuh"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class A>
__global__ void __launch_bounds__(kThreads) find_scales(SignsParams p) {
  const Blocks blocks = blocks_of(p);
  const int64_t stride = int64_t(gridDim.x) * kThreads, all = p.rows * p.n_blocks;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < all; i += stride) {
    const int64_t r = i / p.n_blocks, block = i - r * p.n_blocks;
    const A* c = static_cast<const A*>(p.c) + r * p.dim;
    static_cast<A*>(p.scales)[i] = scale_of_packed(c, blocks.begin(block), blocks.end(block));
  }
}

// Packs each word by a warp, with an entry per lane.
template <class A>
__global__ void __launch_bounds__(kThreads) pack_signs(SignsParams p) {
  const Blocks blocks = blocks_of(p);
  const int64_t words = words_of(p.dim), all = p.rows * words;
  for (int64_t w = int64_t(blockIdx.x) * kWarps + warp(); w < all; w += gridDim.x * kWarps) {
    const int64_t r = w / words, i = (w - r * words) * kWordBits + lane();
    const A* scales = static_cast<const A*>(p.scales) + r * p.n_blocks;
    const bool inside = i < p.dim;
    const A c = inside ? static_cast<const A*>(p.c)[r * p.dim + i] : A(1);
    const unsigned signs = __ballot_sync(kAllLanes, to_bits(c) >> (8 * sizeof(A) - 1) != 0);
    const unsigned zeros = __ballot_sync(kAllLanes, to_bits(c) == 0);
    const unsigned misfits =
        __ballot_sync(kAllLanes, inside && !is_of_scale(c, scales[blocks.at(i)]));
    if (lane() != 0) continue;
    p.signs[w] = signs;
    p.zeros[w] = zeros;
    if (zeros) atomicOr(&p.flags[0], 1);
    if (misfits) atomicOr(&p.flags[1], 1);
  }
}

template <class A>
__global__ void __launch_bounds__(kThreads, 1) unpack_signs(SignsParams p) {
  const Blocks blocks = blocks_of(p);
  const int64_t words = words_of(p.dim), all = p.rows * words;
  for (int64_t w = int64_t(blockIdx.x) * kWarps + warp(); w < all; w += gridDim.x * kWarps) {
    const int64_t r = w / words, i = (w - r * words) * kWordBits + lane();
    if (i >= p.dim) continue;
    const A scale = static_cast<const A*>(p.scales)[r * p.n_blocks + blocks.at(i)];
    const bool negative = p.signs[w] >> lane() & 1, zero = p.zeros && (p.zeros[w] >> lane() & 1);
    static_cast<A*>(p.c)[r * p.dim + i] = unpacked(scale, negative, zero);
  }
}

// Packs each row by a thread block. A thread's entries go behind the entries of the threads before
// it.
template <class A>
__global__ void __launch_bounds__(kThreads) pack_entries(EntriesParams p) {
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const A* c = static_cast<const A*>(p.c) + r * p.dim;
    A* values = static_cast<A*>(p.values) + r * p.k;
    int32_t* indices = p.indices + r * p.k;
    int64_t found = 0;  // in earlier tiles
    for (int64_t tile = 0; tile < p.dim; tile += kTile) {
      const int64_t begin = tile + int(threadIdx.x) * kQuad;
      A v[kQuad] = {};
      const int64_t left = p.dim - begin;
      if (left > 0) load<Access<kQuad, false>>(c + begin, left < kQuad ? int(left) : kQuad, v);
      uint32_t own = 0;
      for (int i = 0; i < kQuad; ++i) own += to_bits(v[i]) != 0;
      const Scan scan = block_scan(own);
      int64_t at = found + scan.before;
      found += scan.total;
      for (int i = 0; i < kQuad; ++i) {
        if (to_bits(v[i]) == 0) continue;
        if (at < p.k) {
          values[at] = v[i];
          indices[at] = int32_t(begin + i);
        }
        ++at;
      }
    }
    if (found > p.k && threadIdx.x == 0) atomicOr(&p.flags[0], 1);
    if (found >= p.k) continue;
    __syncthreads();  // the last entry is another thread's
    const A value = found > 0 ? values[found - 1] : A(0);
    const int32_t index = found > 0 ? indices[found - 1] : 0;
    for (int64_t at = found + threadIdx.x; at < p.k; at += kThreads) {
      values[at] = value;
      indices[at] = index;
    }
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void pack_signs(const SignsParams& p, const Execution& on) {
  using namespace cuda_kernels;
  launch_offsets_check(blocks_of(p), on.stream);
  dispatch_compute(p.dtype, [&](auto zero) {
    using A = decltype(zero);
    constexpr auto scales = &find_scales<A>, pack = &cuda_kernels::pack_signs<A>;
    EFFEBM_LAUNCH(scales, grid_for((p.rows * p.n_blocks + kThreads - 1) / kThreads), kThreads,
                  on.stream, p);
    EFFEBM_LAUNCH(pack, grid_for((p.rows * words_of(p.dim) + kWarps - 1) / kWarps), kThreads,
                  on.stream, p);
  });
}

void unpack_signs(const SignsParams& p, const Execution& on) {
  using namespace cuda_kernels;
  launch_offsets_check(blocks_of(p), on.stream);
  dispatch_compute(p.dtype, [&](auto zero) {
    constexpr auto unpack = &cuda_kernels::unpack_signs<decltype(zero)>;
    EFFEBM_LAUNCH(unpack, grid_for((p.rows * words_of(p.dim) + kWarps - 1) / kWarps), kThreads,
                  on.stream, p);
  });
}

void pack_entries(const EntriesParams& p, const Execution& on) {
  using namespace cuda_kernels;
  dispatch_compute(p.dtype, [&](auto zero) {
    constexpr auto pack = &cuda_kernels::pack_entries<decltype(zero)>;
    EFFEBM_LAUNCH(pack, grid_for(p.rows), kThreads, on.stream, p);
  });
}

}  // namespace effebm::cuda
