#include "block_sign_launch.cuh"
#include "launch.h"

namespace effebm::cuda {
namespace {

// f(plan, zero of the storage type)
template <class F>
void with_plan(const BlockSignParams& p, const F& f) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    f(block_sign_plan<CompressRow<decltype(zero)>>(p, blocks_of(p), p.n_blocks), zero);
  });
}

}  // namespace

int64_t workspace_of(const BlockSignParams& p) {
  Workspace space;
  with_plan(p, [&](const auto& plan, auto zero) {
    cuda_kernels::take_group_sums<cuda_kernels::Compute<decltype(zero)>>(space, plan, p.rows);
  });
  return space.bytes();
}

void launch_block_sign(const BlockSignParams& p, void* workspace, void* stream) {
  using namespace cuda_kernels;
  with_plan(p, [&](const auto& plan, auto zero) {
    using T = decltype(zero);
    launch_block_sign_rows<CompressRow<T>>(p, blocks_of(p), can_vectorise<T>(p), plan, workspace,
                                           stream);
  });
}

}  // namespace effebm::cuda
