// The sums over a row that a Langevin step needs, and those that it reports.
#pragma once

#include "../core/langevin_step.h"
#include "sums.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

// Returns the row's factor of clip by norm.
template <class T>
Compute<T> norm_scale_of(const T* grad, int64_t dim, Compute<T> limit, const Team& team,
                         Scratch& scratch) {
  using A = Compute<T>;
  const A sum = row_sum<A>(dim, team, scratch, [grad](int64_t at, int n, A* terms) {
    const T* g = grad + at;
    for (int i = 0; i < n; ++i) terms[i] = term(widen(g[i]), widen(g[i]));
  });
  return norm_scale(sum, limit);
}

// The sums that a step is asked for, gathered chunk by chunk as the step walks over the row.
template <class T>
class StepSums {
 public:
  using A = Compute<T>;

  StepSums(const LangevinStepParams& p, int64_t r, const RowInput<T>& input, Scratch& scratch)
      : of_(p.row_sums_of), input_(input), x_(nullptr), new_x_(nullptr), delta_(nullptr) {
    if (of_ == RowSums::none) return;
    if (p.x) x_ = static_cast<const T*>(p.x) + r * p.dim;
    if (p.x) new_x_ = static_cast<const T*>(p.out) + r * p.dim;
    if (p.delta) delta_ = static_cast<const A*>(p.delta) + r * p.dim;
    out_ = static_cast<A*>(p.row_sums) + r * kRowSums;
    groups_ = (p.dim + kSumWidth - 1) / kSumWidth;
    sums_ = scratch.room<A>(kRowSums * groups_);
  }

  // Adds n elements of the gradient, before the state is moved: they may be the same memory.
  void add_gradient(int64_t at, int n) const {
    if (of_ != RowSums::statistics) return;
    const T* g = input_.values + at;
    const Clip clip = input_.clip;
    const A limit = input_.limit;
    A squares[kChunk], counts[kChunk];
    for (int i = 0; i < n; ++i) squares[i] = term(widen(g[i]), widen(g[i]));
    for (int i = 0; i < n; ++i) counts[i] = A(is_clipped(clip, widen(g[i]), limit));
    keep(at, n, squares, counts);
  }

  // Adds n elements that have been moved along c.
  void add_move(int64_t at, int n, const A* c) const {
    if (of_ != RowSums::transition) return;
    A products[kChunk], squares[kChunk];
    if (x_) {
      const T *x = x_ + at, *moved = new_x_ + at;
      for (int i = 0; i < n; ++i) products[i] = term(c[i], widen(moved[i]) - widen(x[i]));
    } else {
      for (int i = 0; i < n; ++i) products[i] = delta_ ? term(c[i], delta_[at + i]) : A(0);
    }
    for (int i = 0; i < n; ++i) squares[i] = term(c[i], c[i]);
    keep(at, n, products, squares);
  }

  void finish() const {
    if (of_ == RowSums::none) return;
    for (int i = 0; i < kRowSums; ++i) out_[i] = sum_of_groups(sums_ + i * groups_, groups_);
  }

 private:
  void keep(int64_t at, int n, A* first, A* second) const {
    A* sums = sums_ + at / kSumWidth;
    sums[0] = halving_sum(first, n);
    sums[groups_] = halving_sum(second, n);
  }

  RowSums of_;
  RowInput<T> input_;
  const T *x_, *new_x_;
  const A* delta_;
  A *out_ = nullptr, *sums_ = nullptr;
  int64_t groups_ = 0;
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
