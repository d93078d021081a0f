// The choice of a kernel for a Block-Sign of given rows, and its launch.
#pragma once

#include <numeric>

#include "block_offsets.cuh"
#include "block_sign.cuh"
#include "block_sign_lanes.cuh"
#include "block_sign_windows.cuh"
#include "workspace.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct BlockSignPlan {
  BlockSignTier tier;
  int lanes = 0;
  int64_t segment = 0;  // elements that a thread block takes
  int64_t group_sums = 0;
};

template <class Row, class Params>
BlockSignPlan block_sign_plan(const Params& p, const Blocks& blocks, int64_t n_offset_blocks) {
  using A = typename Row::A;
  if (const int lanes = lanes_of(p.dim, blocks.size())) return {BlockSignTier::lanes, lanes};
  // Segments end where a block and a quad end and, if the row has sums, a group of the sums.
  int64_t segment = p.dim;
  if (blocks.size() > 0 && blocks.size() < p.dim) {
    const int64_t unit = std::lcm(blocks.size(), Row::kSharedSums ? int64_t(kSumWidth) : 1);
    if (unit % kQuad == 0 && unit < p.dim && p.dim > kSegment)
      segment = unit * (unit < kSegment ? kSegment / unit : 1);
  }
  constexpr int64_t kStatic =
      (kMostTile<A> + kSumTerms<kResidentLevels>)*int64_t(sizeof(A)) + kStaticReserve;
  if (segment <= most_resident<Row>(kStatic)) return {BlockSignTier::segments, 0, segment};
  const int64_t n_blocks =
      blocks.size() > 0 ? (p.dim + blocks.size() - 1) / blocks.size() : n_offset_blocks;
  return {BlockSignTier::windows, 0, 0, GroupSums::count(p.dim, n_blocks)};
}

template <class Row>
class BlockSignLaunch {
 public:
  using A = typename Row::A;
  BlockSignLaunch() = default;

  template <class Params>
  BlockSignLaunch(const Params& p, cuda::Workspace& space)
      : plan_(block_sign_plan<Row>(p, blocks_of(p, p.dim), p.n_blocks)),
        group_sums_(space.take<A>(plan_.group_sums * p.rows)) {}

  template <class Params>
  void run(const Params& p, bool vector, void* stream) const {
    const Blocks blocks = blocks_of(p, p.dim);
    launch_offsets_check(blocks, stream);
    switch (plan_.tier) {
      case BlockSignTier::lanes:
        return launch_tiles<Row>(p, SignInLanes{p.dim, plan_.lanes}, vector, stream);
      case BlockSignTier::segments: {
        constexpr auto kernel = &block_sign_segments<Row, Params>;
        const int64_t bytes = resident_bytes<A>(plan_.segment);
        const int64_t segments = p.rows * ((p.dim + plan_.segment - 1) / plan_.segment);
        const int threads = plan_.segment > kSegment ? kMostThreads<A> : kThreads;
        cuda::allow_shared_memory(kernel, bytes);
        EFFEBM_LAUNCH_SHARED(kernel, grid_for(segments), threads, bytes, stream, p, blocks,
                             plan_.segment, vector);
        return;
      }
      case BlockSignTier::windows:
        return launch_block_sign_windows<Row>(p, blocks, vector, {group_sums_, plan_.group_sums},
                                              stream);
    }
  }

 private:
  BlockSignPlan plan_ = {};
  A* group_sums_ = nullptr;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
