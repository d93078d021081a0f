#include "launch.h"
#include "topk_launch.cuh"

namespace effebm::cuda {
namespace {

// f(plan, zero of the storage type)
template <class F>
void with_plan(const TopkParams& p, const F& f) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) { f(topk_plan<CompressRow<decltype(zero)>>(p, p.k), zero); });
}

}  // namespace

int64_t workspace_of(const TopkParams& p) {
  Workspace space;
  with_plan(p, [&](const auto& plan, auto) { cuda_kernels::take_counters(space, plan); });
  return space.bytes();
}

void launch_topk(const TopkParams& p, void* workspace, void* stream) {
  using namespace cuda_kernels;
  with_plan(p, [&](const auto& plan, auto zero) {
    using T = decltype(zero);
    launch_topk_rows<CompressRow<T>>(p, p.k, can_vectorise<T>(p), plan, workspace, stream);
  });
}

}  // namespace effebm::cuda
