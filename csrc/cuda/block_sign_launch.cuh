// The choice of the kernels for a Block-Sign of given rows, and their launch.
#pragma once

#include "block_offsets.cuh"
#include "block_sign_rows.cuh"
#include "block_sign_windows.cuh"
#include "flat.cuh"
#include "workspace.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Blocks in the lanes of a warp are for the flat kernel, and blocks that threads hold in registers
// have a kernel of their own, unless the step reports. Any others are read twice.
template <class Family>
class BlockSignLaunch {
 public:
  using A = typename Family::A;
  BlockSignLaunch() = default;

  BlockSignLaunch(const Family& family, cuda::Workspace& space) {
    const auto& p = family.p;
    const Blocks blocks = blocks_of(p, p.dim);
    if ((in_lanes_ = size_in_lanes(p.dim, blocks.size()))) return;
    if (!family.reports()) shape_ = block_sign_shape<A>(p.dim, blocks.size());
    if (shape_.size > 0) return;
    const int64_t count =
        blocks.size() > 0 ? (p.dim + blocks.size() - 1) / blocks.size() : p.n_blocks;
    groups_.per_row = GroupSums::count(p.dim, count);
    groups_.sums = space.take<A>(groups_.per_row * p.rows);
  }

  void run(const Family& family, void* stream) const {
    const auto& p = family.p;
    const Blocks blocks = blocks_of(p, p.dim);
    launch_offsets_check(blocks, stream);
    if (in_lanes_) return family.launch_flat(SignInLanes(unsigned(in_lanes_), p.dim), stream);
    family.with_row_op([&](auto op) {
      if (shape_.size > 0)
        launch_block_sign_rows<decltype(op)>(p, shape_, stream);
      else
        launch_window_scales<decltype(op)>(p, blocks, groups_, stream);
    });
    if (shape_.size == 0) family.launch_flat(SignByScales(blocks, groups_, p.dim), stream);
  }

 private:
  int in_lanes_ = 0;  // the size of blocks that lie in a warp's lanes, or 0
  BlockSignShape shape_ = {};
  GroupSums groups_ = {};
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
