// The choice of a kernel for a Top-k of given rows, and its launch.
#pragma once

#include <algorithm>

#include "tiles.cuh"
#include "topk.cuh"
#include "topk_warps.cuh"
#include "workspace.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct TopkPlan {
  TopkTier tier;
  int threads = kThreads;
  TeamShape shape = {};
  int64_t teams = 0;
  int64_t bytes = 0;  // shared memory for a slice
};

// Cuts a row into about `blocks` slices of whole tiles.
inline TeamShape share(int64_t dim, int64_t blocks, int64_t tile) {
  const int64_t slice = ((dim + blocks - 1) / blocks + tile - 1) / tile * tile;
  return {int((dim + slice - 1) / slice), slice};
}

template <class Row, class Params>
TopkPlan topk_plan(const Params& p, int64_t k) {
  using A = typename Row::A;
  using std::max, std::min;
  if (k == 0 || k == p.dim) return {TopkTier::tiles};
  if (!Row::kSharedSums && p.dim <= kMostOfWarp) return {TopkTier::warp};

  constexpr int64_t kCounts = kDigits * sizeof(uint32_t) + kStaticReserve;
  const int threads = p.dim > kLongRow ? kMostThreads<A> : kThreads;
  const int64_t tile = threads * kQuad, room = most_resident<Row>(kCounts);
  if (p.dim <= room) return {TopkTier::block, threads, {}, p.rows, resident_bytes<A>(p.dim)};

  if (clusters_are_asked_for() && cuda::current_device().clusters) {
    constexpr auto kernel = &topk_rows<Resident<Row>, Cluster, Params>;
    for (int blocks = 2; blocks <= kMostClusterBlocks; blocks *= 2) {
      const TeamShape shape = {blocks, share(p.dim, blocks, tile).slice};
      const int64_t bytes = resident_bytes<A>(shape.slice);
      if (shape.slice > room) continue;
      cuda::allow_shared_memory(kernel, bytes);
      if (cuda::can_cluster(kernel, {unsigned(blocks), threads, bytes, unsigned(blocks)}))
        return {TopkTier::cluster, threads, shape, p.rows, bytes};
    }
  }

  const int64_t most_slices = (p.dim + kLeastSlice - 1) / kLeastSlice;
  const int64_t resident_blocks = cuda::current_device().multiprocessors;
  const int64_t tiles_of_block = room / tile;
  if (p.dim <= resident_blocks * tiles_of_block * tile) {
    const int64_t least = ((p.dim + tile - 1) / tile + tiles_of_block - 1) / tiles_of_block;
    const TeamShape shape =
        share(p.dim, max(least, min(resident_blocks / p.rows, most_slices)), tile);
    return {TopkTier::resident_grid, threads, shape, min(p.rows, resident_blocks / shape.size),
            resident_bytes<A>(shape.slice)};
  }
  // All blocks work on one row, so that what they read again may still be in the cache.
  constexpr auto kernel = &topk_rows<Row, Grid, Params>;
  const int64_t blocks = min<int64_t>(cuda::blocks_at_once(kernel, threads, 0), kMostGridBlocks);
  return {TopkTier::grid, threads, share(p.dim, min(blocks, most_slices), tile), 1};
}

template <class Row>
class TopkLaunch {
 public:
  TopkLaunch() = default;

  template <class Params>
  TopkLaunch(const Params& p, cuda::Workspace& space)
      : plan_(topk_plan<Row>(p, p.compressor_size)) {
    const bool counts = plan_.tier == TopkTier::resident_grid || plan_.tier == TopkTier::grid;
    plan_.shape.counters = space.take<Grid::Counters>(counts ? plan_.teams : 0);
  }

  template <class Params>
  void run(const Params& p, bool vector, void* stream) const {
    const int64_t k = p.compressor_size;
    const auto launch_team = [&](auto kernel, unsigned cluster) {
      if (plan_.bytes) cuda::allow_shared_memory(kernel, plan_.bytes);
      const unsigned blocks = unsigned(plan_.teams * plan_.shape.size);
      cuda::launch_cooperative(kernel, {blocks, plan_.threads, plan_.bytes, cluster}, stream, p, k,
                               vector, plan_.shape);
    };
    switch (plan_.tier) {
      case TopkTier::tiles:
        return k == 0 ? launch_tiles<Row>(p, Keep<false>(), vector, stream)
                      : launch_tiles<Row>(p, Keep<true>(), vector, stream);
      case TopkTier::warp:
        if constexpr (!Row::kSharedSums)
          return p.dim <= kFewQuads * kWarpQuads
                     ? launch_topk_warps<Row, kFewQuads>(p, k, vector, stream)
                     : launch_topk_warps<Row, kMostQuads>(p, k, vector, stream);
        return;
      case TopkTier::block: {
        constexpr auto kernel = &topk_rows<Resident<Row>, SingleBlock, Params>;
        cuda::allow_shared_memory(kernel, plan_.bytes);
        EFFEBM_LAUNCH_SHARED(kernel, grid_for(plan_.teams), plan_.threads, plan_.bytes, stream, p,
                             k, vector, plan_.shape);
        return;
      }
      case TopkTier::cluster:
        return launch_team(&topk_rows<Resident<Row>, Cluster, Params>, unsigned(plan_.shape.size));
      case TopkTier::resident_grid:
        return launch_team(&topk_rows<Resident<Row>, Grid, Params>, 1);
      case TopkTier::grid:
        return launch_team(&topk_rows<Row, Grid, Params>, 1);
    }
  }

 private:
  TopkPlan plan_ = {};
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
