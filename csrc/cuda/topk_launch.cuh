// The choice of the kernels for a Top-k of given rows, and their launch.
#pragma once

#include "flat.cuh"
#include "topk_long.cuh"
#include "topk_rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Finds the cutoffs of rows by the kernels for their length, 0 < k < dim.
template <class A>
class CutoffLaunch {
 public:
  CutoffLaunch() = default;
  CutoffLaunch(int64_t rows, int64_t dim, const Expectation& expected, cuda::Workspace& space)
      : cutoffs_(space.take<Cutoff<A>>(rows)), expected_(expected) {
    if (dim > kMostHeld<A>) long_ = long_rows<A>(rows, dim, cutoffs_, space);
  }

  const Cutoff<A>* cutoffs() const { return cutoffs_; }

  template <class Op>
  void run(const typename Op::Params& p, int64_t k, void* stream) const {
    if (p.dim > kMostHeld<A>)
      launch_topk_long<Op>(p, k, expected_, long_, stream);
    else
      launch_topk_rows<Op, false>(p, k, expected_, cutoffs_, stream);
  }

 private:
  Cutoff<A>* cutoffs_ = nullptr;
  Expectation expected_ = {};
  LongRows<A> long_ = {};
};

// Rows in registers are read once. Longer ones, and those of steps that report, take one launch for
// the cutoffs, or three, and a flat one.
template <class Family>
class TopkLaunch {
 public:
  using A = typename Family::A;
  TopkLaunch() = default;

  TopkLaunch(const Family& family, cuda::Workspace& space) {
    const auto& p = family.p;
    if (selects_none(p) || at_once(family)) return;
    cutoffs_ = CutoffLaunch<A>(p.rows, p.dim, expected_of(p), space);
  }

  void run(const Family& family, void* stream) const {
    const auto& p = family.p;
    if (p.compressor_size == p.dim) return family.launch_flat(KeepAll(), stream);
    if (p.compressor_size == 0) return family.launch_flat(KeepSelected{nullptr}, stream);
    family.with_row_op([&](auto op) {
      using Op = decltype(op);
      if (at_once(family))
        launch_topk_rows<Op, true>(p, p.compressor_size, expected_of(p), nullptr, stream);
      else
        cutoffs_.template run<Op>(p, p.compressor_size, stream);
    });
    if (!at_once(family)) family.launch_flat(KeepSelected{cutoffs_.cutoffs()}, stream);
  }

 private:
  static bool selects_none(const typename Family::Params& p) {
    return p.compressor_size == 0 || p.compressor_size == p.dim;
  }
  static bool at_once(const Family& family) {
    return family.p.dim <= kMostHeld<A> && !family.reports();
  }
  static Expectation expected_of(const typename Family::Params& p) {
    return expect_normals(double(p.compressor_size), double(p.dim));
  }

  CutoffLaunch<A> cutoffs_;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
