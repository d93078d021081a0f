// The row of a Langevin step: u is the clipped gradient plus the residual, and put() moves the
// state.
#pragma once

#include "../core/langevin_step.h"
#include "../core/normal.h"
#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The parameters of a step, with what the step finds on the way, in the compute type.
struct StepParams : LangevinStepParams {
  void* norm_scales;  // one per row, for clip by norm; or null
  void* group_sums;   // (rows, kRowSums, groups), for sums over rows
};

// Returns the terms of a tile's sums, gathered in shared memory in the order of the threads.
template <class A>
__device__ A* tile_terms() {
  static_assert(kTile % kSumWidth == 0);  // so that groups of a row's sum do not cross tiles
  EFFEBM_SHARED(A, terms, kRowSums * kMostTile<A>);
  return terms;
}

// `kReports` is true if the step reports its drift or sums over rows, also where there is no state
// and it only reports.
template <class T, bool kReports>
class StepRow {
 public:
  using A = Compute<T>;
  static constexpr int kSharedSums = kReports ? kRowSums : 0;

  __device__ StepRow(const StepParams& p, int64_t r, bool vector, const Slice& = {})
      : x_(!kReports || p.x ? static_cast<const T*>(p.x) + r * p.dim : nullptr),
        grad_(static_cast<const T*>(p.grad) + r * p.dim),
        delta_(kReports && p.delta ? static_cast<const A*>(p.delta) + r * p.dim : nullptr),
        out_(static_cast<T*>(p.out) + r * p.dim),
        residual_(p.residual ? static_cast<A*>(p.residual) + r * p.dim : nullptr),
        drift_(kReports && p.drift ? static_cast<A*>(p.drift) + r * p.dim : nullptr),
        sums_of_(p.row_sums_of),
        clip_(p.clip),
        limit_(p.norm_scales ? static_cast<const A*>(p.norm_scales)[r] : A(p.clip_limit)),
        bounds_(p.bounds),
        lower_(storable<T>(p.lower)),
        upper_(storable<T>(p.upper)),
        scalars_(chain_scalars<A>(p, r)),
        stream_(stream_of(p, Purpose::noise)),
        chain_(chain_of(p, r)),
        vector_(vector) {
    if constexpr (kReports)
      group_sums_ = static_cast<A*>(p.group_sums) + r * kRowSums * (groups_ = groups_of(p.dim));
  }

  __device__ A u(int64_t i) const {
    const A v = clipped(clip_, A(widen(grad_[i])), limit_);
    return residual_ ? v + residual_[i] : v;
  }

  struct Fetched {
    T grad[kQuad];
    A residual[kQuad];
  };
  __device__ Fetched fetch(int64_t begin, int n) const {
    Fetched f = {};
    load_quad(grad_, begin, n, vector_, f.grad);
    if (residual_) load_quad<A>(residual_, begin, n, vector_, f.residual);
    return f;
  }
  __device__ void load(const Fetched& f, A (&u)[kQuad]) const {
    A g[kQuad];
    load(f, g, u);
  }
  __device__ void load(int64_t begin, int n, A (&u)[kQuad]) const { load(fetch(begin, n), u); }

  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const {
    A g[kQuad];
    load(fetch(begin, n), g, u);
    if constexpr (kReports) {
      if (sums_of_ != RowSums::statistics) return;
      for (int i = 0; i < kQuad; ++i)
        add_terms(i, term(g[i], g[i]), A(is_clipped(clip_, g[i], limit_)));
    }
  }

  __device__ void put(int64_t begin, int n, const A (&u)[kQuad], const A (&c)[kQuad]) const {
    if (residual_) {
      A lost[kQuad];
      for (int i = 0; i < kQuad; ++i) lost[i] = u[i] - c[i];
      store_quad(residual_, begin, n, vector_, lost);
    }
    A delta[kQuad] = {};
    if (!kReports || x_)
      step(begin, n, c, delta);
    else if (delta_)
      load_quad(delta_, begin, n, vector_, delta);
    if constexpr (kReports) {
      if (drift_) store_quad(drift_, begin, n, vector_, c);
      if (sums_of_ != RowSums::transition) return;
      const bool moved = x_ || delta_;  // if not, the sum is 0 for any drift
      for (int i = 0; i < kQuad; ++i)
        add_terms(i, moved ? term(c[i], delta[i]) : A(0), term(c[i], c[i]));
    }
  }

  __device__ bool sums_on_read() const { return kReports && sums_of_ == RowSums::statistics; }

  // Adds up the terms of the tile's elements before `end`.
  __device__ void end_tile(int64_t tile, int64_t end, const Band& band) const {
    if constexpr (kReports) {
      if (sums_of_ == RowSums::none) return;
      const int row_size = band.width * kQuad, size = row_size < kSumWidth ? row_size : kSumWidth;
      const int sums = threads() * kQuad / size * kRowSums;
      A* const first_row = group_sums_ - band.before * kRowSums * groups_;
      __syncthreads();
      for (int s = warp(); s < sums; s += warps()) {
        const int at = s / kRowSums * size, which = s % kRowSums, r = at / row_size;
        const int64_t begin = tile + at % row_size, left = end - begin;
        if (r >= band.rows || left <= 0) continue;
        const A* terms = tile_terms<A>() + which * kMostTile<A> + at;
        const A sum = warp_sum<A>(left < size ? int(left) : size, [&](int i) { return terms[i]; });
        if (lane() == 0) first_row[(r * kRowSums + which) * groups_ + begin / kSumWidth] = sum;
      }
      __syncthreads();  // before the next tile's terms are written
    }
  }
  __device__ void end_tile(int64_t tile, int64_t end) const {
    end_tile(tile, end, {threads(), 0, 1});
  }

 private:
  __device__ void load(const Fetched& f, A (&g)[kQuad], A (&u)[kQuad]) const {
    for (int i = 0; i < kQuad; ++i) u[i] = g[i] = widen(f.grad[i]);
    if (clip_ != Clip::none)
      for (int i = 0; i < kQuad; ++i) u[i] = clipped(clip_, g[i], limit_);
    if (residual_)
      for (int i = 0; i < kQuad; ++i) u[i] = u[i] + f.residual[i];
  }

  // Moves four elements; if kReports, `delta` receives how far.
  __device__ void step(int64_t begin, int n, const A (&c)[kQuad], A (&delta)[kQuad]) const {
    T v[kQuad] = {};
    load_quad(x_, begin, n, vector_, v);
    A moved[kQuad];
    for (int i = 0; i < kQuad; ++i) moved[i] = move(widen(v[i]), c[i], scalars_.half_step);
    // Conditions that do not depend on the element are asked once for four elements.
    if (scalars_.noise_std != A(0)) {
      float normal[kQuad];
      normal4(stream_, chain_, uint32_t(begin / kQuad), normal);
      for (int i = 0; i < kQuad; ++i) moved[i] = fma(scalars_.noise_std, A(normal[i]), moved[i]);
    }
    if (bounds_ == Bounds::clamp)
      for (int i = 0; i < kQuad; ++i) moved[i] = clamp(moved[i], lower_, upper_);
    else if (bounds_ == Bounds::reflect)
      for (int i = 0; i < kQuad; ++i) moved[i] = reflect(moved[i], lower_, upper_);
    for (int i = 0; i < kQuad; ++i) {
      const A x = widen(v[i]);
      v[i] = narrow<T>(moved[i]);
      if constexpr (kReports) delta[i] = widen(v[i]) - x;
    }
    store_quad(out_, begin, n, vector_, v);
  }

  __device__ void add_terms(int i, A first, A second) const {
    A* terms = tile_terms<A>() + int(threadIdx.x) * kQuad + i;
    terms[0] = first;
    terms[kMostTile<A>] = second;
  }

  const T *x_, *grad_;
  const A* delta_;
  T* out_;
  A *residual_, *drift_;
  RowSums sums_of_;
  Clip clip_;
  A limit_;
  Bounds bounds_;
  A lower_, upper_;
  ChainScalars<A> scalars_;
  Stream stream_;
  uint32_t chain_;
  bool vector_;
  int64_t groups_ = 0;
  A* group_sums_ = nullptr;
};

template <class T>
bool can_vectorise(const StepParams& p) {
  using A = Compute<T>;
  return whole_quads<T>(p.x, p.dim) && whole_quads<T>(p.out, p.dim) &&
         whole_quads<T>(p.grad, p.dim) && whole_quads<A>(p.residual, p.dim) &&
         whole_quads<A>(p.drift, p.dim) && whole_quads<A>(p.delta, p.dim);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
