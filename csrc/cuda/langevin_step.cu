#include "compressor_launch.cuh"
#include "gradient_squares.cuh"
#include "join_groups.cuh"
#include "kernels.h"
#include "step_row.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// How a step is launched, and how its parts share the workspace. `kReports`: see StepRow.
template <class T, bool kReports>
class StepLaunch {
 public:
  using A = Compute<T>;
  using Row = StepRow<T, kReports>;

  StepLaunch(const LangevinStepParams& params, cuda::Workspace& space)
      : p_{params, nullptr, nullptr}, compressor_(p_, space) {
    const int64_t groups = groups_of(p_.dim);
    if (p_.clip == Clip::norm) {
      p_.norm_scales = space.take<A>(p_.rows);
      squares_ = space.take<A>(p_.rows * groups);
    }
    if (p_.row_sums_of != RowSums::none)
      p_.group_sums = groups > 1 ? space.take<A>(p_.rows * kRowSums * groups) : p_.row_sums;
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
    compressor_.run(p_, can_vectorise<T>(p_), stream);
    if (p_.row_sums_of != RowSums::none && groups > 1)
      launch_join_groups<A>(static_cast<const A*>(p_.group_sums), p_.rows * kRowSums, groups,
                            static_cast<A*>(p_.row_sums), AsSum(), stream);
  }

 private:
  StepParams p_;
  CompressorLaunch<Row> compressor_;
  A* squares_ = nullptr;
};

template <class T, bool kReports>
void launch_step(const LangevinStepParams& p, const Execution& on) {
  const auto make = [&](cuda::Workspace& space) { return StepLaunch<T, kReports>(p, space); };
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
