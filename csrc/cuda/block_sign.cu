#include "block_sign_launch.cuh"
#include "kernels.h"

namespace effebm::cuda {

void block_sign(const BlockSignParams& p, const Execution& on) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Blocks blocks = blocks_of(p);
    const BlockSignPlan plan = block_sign_plan<CompressRow<T>>(p, blocks, p.n_blocks);
    void* const sums = with_workspace(
        on, [&](Workspace& space) { return take_group_sums<Compute<T>>(space, plan, p.rows); });
    launch_block_sign_rows<CompressRow<T>>(p, blocks, can_vectorise<T>(p), plan, sums, on.stream);
  });
}

}  // namespace effebm::cuda
