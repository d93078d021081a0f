// How a step is launched, and how its parts share the workspace.
#pragma once

#include "compressor_launch.cuh"
#include "gradient_squares.cuh"
#include "step_op.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class T>
struct StepFamily {
  using A = Compute<T>;
  using Params = StepParams<T>;
  StepParams<T> p;

  bool only_moves() const {
    return p.x && !p.drift && p.row_sums_of == RowSums::none && !by_element(p);
  }
  // Tells whether kernels of the kind `reports` make the step.
  bool reports() const { return !only_moves() || moves_block(p); }
  bool is_plain() const {
    return !p.residual && p.clip == Clip::none && p.bounds == Bounds::none &&
           !p.stochastic_rounding && !p.averaged_noise;
  }
  // Tells whether elements that do not move need not be touched.
  bool moves_in_place() const { return only_moves() && p.x == p.out && !p.residual; }
  bool has_vectors(int N) const {
    return whole_vectors<T>(p.x, p.dim, N) && whole_vectors<T>(p.out, p.dim, N) &&
           whole_vectors<T>(p.grad, p.dim, N) && whole_vectors<A>(p.residual, p.dim, N) &&
           whole_vectors<A>(p.drift, p.dim, N) && whole_vectors<A>(p.delta, p.dim, N);
  }

  template <class F>
  void with_row_op(const F& f) const {
    has_vectors(kQuad) ? f(StepOp<T, Access<kQuad, true>, StepKind::full>())
                       : f(StepOp<T, Access<kQuad, false>, StepKind::full>());
  }

  template <class F>
  void with_block_op(const F& f) const {
    has_vectors(kQuad) ? f(StepOp<T, Access<kQuad, true>, StepKind::block>())
                       : f(StepOp<T, Access<kQuad, false>, StepKind::block>());
  }

  template <class Compression>
  void launch_flat(const Compression& compress, void* stream) const {
    if (reports()) return launch_any<StepKind::reports>(compress, unit_of_tiles(p.dim), stream);
    if constexpr (kHasPlainKernel<Compression>)
      if (is_plain() && has_vectors(kQuad)) return launch_plain(compress, stream);
    launch_any<StepKind::full>(compress, compress.unit(kQuad), stream);
  }

 private:
  // The compressions whose steps take fewer registers where no option is asked for.
  template <class Compression>
  static constexpr bool kHasPlainKernel =
      std::is_same_v<Compression, KeepAll> || std::is_same_v<Compression, SignInLanes> ||
      std::is_same_v<Compression, KeepSelected>;

  template <class Compression>
  void launch_plain(const Compression& compress, void* stream) const {
    constexpr int kWide = kVectorBytes / sizeof(T);
    if constexpr (kWide > kQuad)
      if (has_vectors(kWide) && compress.unit(kWide) > 0)
        return launch<Access<kWide, true>, StepKind::plain>(compress, compress.unit(kWide), stream);
    launch<Access<kQuad, true>, StepKind::plain>(compress, compress.unit(kQuad), stream);
  }

  template <StepKind kKind>
  void launch_any(const AnyCompression& compress, int unit, void* stream) const {
    has_vectors(kQuad) ? launch<Access<kQuad, true>, kKind>(compress, unit, stream)
                       : launch<Access<kQuad, false>, kKind>(compress, unit, stream);
  }

  template <class Way, StepKind kKind, class Compression>
  void launch(const Compression& compress, int unit, void* stream) const {
    cuda_kernels::launch_flat<StepOp<T, Way, kKind>, Compression>(p, compress, unit, stream);
  }
};

template <class T>
class StepLaunch {
 public:
  using A = Compute<T>;

  StepLaunch(const LangevinStepParams& params, cuda::Workspace& space)
      : family_{StepParams<T>(params)},
        groups_(groups_of(params.dim)),
        squares_(space.take<A>(params.clip == Clip::norm ? params.rows * groups_ : 0)),
        compressor_(family_with_memory(space), space) {}

  void run(void* stream) const {
    const StepParams<T>& p = family_.p;
    if (p.clip == Clip::norm) {
      launch_sum_squares<T>(static_cast<const T*>(p.grad), p.rows, p.dim, squares_, stream);
      launch_join_groups<A>(squares_, p.rows, groups_, p.norm_scales, AsNormScale{p.clip_limit},
                            stream);
    }
    compressor_.run(family_, stream);
    if (p.row_sums_of != RowSums::none && groups_ > 1)
      launch_join_groups<A>(p.group_sums, p.rows * kRowSums, groups_, static_cast<A*>(p.row_sums),
                            AsSum(), stream);
  }

 private:
  const StepFamily<T>& family_with_memory(cuda::Workspace& space) {
    StepParams<T>& p = family_.p;
    if (p.clip == Clip::norm) p.norm_scales = space.take<A>(p.rows);
    if (p.row_sums_of != RowSums::none)
      p.group_sums =
          groups_ > 1 ? space.take<A>(p.rows * kRowSums * groups_) : static_cast<A*>(p.row_sums);
    return family_;
  }

  StepFamily<T> family_;
  int64_t groups_;
  A* squares_;
  CompressorLaunch<StepFamily<T>> compressor_;
};

template <class T>
void launch_step(const LangevinStepParams& p, const Execution& on) {
  const auto make = [&](cuda::Workspace& space) { return StepLaunch<T>(p, space); };
  cuda::with_workspace(on, make).run(on.stream);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
