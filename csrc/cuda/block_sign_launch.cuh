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

// Takes the memory that the plan's launch needs from the workspace.
template <class A>
void* take_group_sums(cuda::Workspace& space, const BlockSignPlan& plan, int64_t rows) {
  return space.take<A>(plan.group_sums * rows);
}

template <class Row, class Params>
void launch_block_sign_rows(const Params& p, const Blocks& blocks, bool vector,
                            const BlockSignPlan& plan, void* group_sums, void* stream) {
  using A = typename Row::A;
  launch_offsets_check(blocks, stream);
  switch (plan.tier) {
    case BlockSignTier::lanes:
      return launch_tiles<Row>(p, SignInLanes{p.dim, plan.lanes}, vector, stream);
    case BlockSignTier::segments: {
      constexpr auto kernel = &block_sign_segments<Row, Params>;
      const int64_t bytes = resident_bytes<A>(plan.segment);
      const int64_t segments = p.rows * ((p.dim + plan.segment - 1) / plan.segment);
      const int threads = plan.segment > kSegment ? kMostThreads<A> : kThreads;
      cuda::allow_shared_memory(kernel, bytes);
      EFFEBM_LAUNCH_SHARED(kernel, grid_for(segments), threads, bytes, stream, p, blocks,
                           plan.segment, vector);
      return;
    }
    case BlockSignTier::windows:
      return launch_block_sign_windows<Row>(p, blocks, vector, {group_sums, plan.group_sums},
                                            stream);
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
