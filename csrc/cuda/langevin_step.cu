#include "block_sign_launch.cuh"
#include "gradient_squares.cuh"
#include "kernels.h"
#include "topk_launch.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// How a step is launched, and how its parts share the workspace. `kReports`: see StepRow.
template <class T, bool kReports>
class StepLaunch {
 public:
  using A = Compute<T>;
  using Row = StepRow<T, kReports>;

  StepLaunch(const LangevinStepParams& params, Workspace& space)
      : p_{params, nullptr, nullptr}, blocks_(blocks_of(params)) {
    const int64_t groups = groups_of(p_.dim);
    if (p_.clip == Clip::norm) {
      p_.norm_scales = space.take<A>(p_.rows);
      squares_ = space.take<A>(p_.rows * groups);
    }
    if (p_.row_sums_of != RowSums::none)
      p_.group_sums = groups > 1 ? space.take<A>(p_.rows * kRowSums * groups) : p_.row_sums;
    if (p_.compressor == Compressor::topk) {
      topk_ = topk_plan<Row>(p_, p_.compressor_size);
      compressor_space_ = take_counters(space, topk_);
    }
    if (p_.compressor == Compressor::block_sign) {
      block_sign_ = block_sign_plan<Row>(p_, blocks_, p_.n_blocks);
      compressor_space_ = take_group_sums<A>(space, block_sign_, p_.rows);
    }
  }

  void run(void* stream) const {
    const int64_t groups = groups_of(p_.dim);
    if (p_.clip == Clip::norm) {
      constexpr auto kernel = &sum_squares<T>;
      const int64_t warps = p_.rows * groups;
      EFFEBM_LAUNCH(kernel, grid_for((warps + kWarps - 1) / kWarps), kThreads, stream, p_,
                    squares_);
      launch_join_groups<A>(squares_, p_.rows, groups, static_cast<A*>(p_.norm_scales),
                            AsNormScale{p_.clip_limit}, stream);
    }
    const bool vector = can_vectorise<T>(p_);
    switch (p_.compressor) {
      case Compressor::none:
        launch_tiles<Row>(p_, Keep<true>(), vector, stream);
        break;
      case Compressor::topk:
        launch_topk_rows<Row>(p_, p_.compressor_size, vector, topk_, compressor_space_, stream);
        break;
      case Compressor::block_sign:
        launch_block_sign_rows<Row>(p_, blocks_, vector, block_sign_, compressor_space_, stream);
        break;
    }
    if (p_.row_sums_of != RowSums::none && groups > 1)
      launch_join_groups<A>(static_cast<const A*>(p_.group_sums), p_.rows * kRowSums, groups,
                            static_cast<A*>(p_.row_sums), AsSum(), stream);
  }

 private:
  StepParams p_;
  Blocks blocks_;
  A* squares_ = nullptr;
  TopkPlan topk_ = {};
  BlockSignPlan block_sign_ = {};
  void* compressor_space_ = nullptr;
};

template <class T, bool kReports>
void launch_step(const LangevinStepParams& p, const Execution& on) {
  const auto make = [&](Workspace& space) { return StepLaunch<T, kReports>(p, space); };
  cuda::with_workspace(on, make).run(on.stream);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void langevin_step(const LangevinStepParams& p, const Execution& on) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (p.x && !p.drift && p.row_sums_of == RowSums::none)
      launch_step<T, false>(p, on);
    else
      launch_step<T, true>(p, on);
  });
}

}  // namespace effebm::cuda
