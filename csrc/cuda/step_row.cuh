// The row of a Langevin step: u is the clipped gradient plus the residual, and put() moves the
// state.
#pragma once

#include "../core/langevin_step.h"
#include "../core/normal.h"
#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// With what a step finds on the way, in the compute type.
struct StepParams : LangevinStepParams {
  void* norm_scales;  // one per row, for clip by norm; or null
  void* group_sums;   // (rows, kRowSums, groups), for sums over rows
};

EFFEBM_HD int64_t groups_of(int64_t dim) { return (dim + kSumWidth - 1) / kSumWidth; }

// The terms of a tile's sums, which are gathered in shared memory: a tile is a group of the sum.
template <class A>
__device__ A* tile_terms() {
  static_assert(kTile == kSumWidth);
  EFFEBM_SHARED(A, terms, kRowSums * kTile);
  return terms;
}

// `kTold`: the step is to tell its drift, or sums over rows; or there is no state, and it is to
// tell only that.
template <class T, bool kTold>
class StepRow {
 public:
  using A = Compute<T>;
  static constexpr bool kNotes = kTold;

  __device__ StepRow(const StepParams& p, int64_t r, bool vector)
      : x_(!kTold || p.x ? static_cast<const T*>(p.x) + r * p.dim : nullptr),
        grad_(static_cast<const T*>(p.grad) + r * p.dim),
        delta_(kTold && p.delta ? static_cast<const A*>(p.delta) + r * p.dim : nullptr),
        out_(static_cast<T*>(p.out) + r * p.dim),
        residual_(p.residual ? static_cast<A*>(p.residual) + r * p.dim : nullptr),
        drift_(kTold && p.drift ? static_cast<A*>(p.drift) + r * p.dim : nullptr),
        sums_of_(p.row_sums_of),
        clip_(p.clip),
        limit_(p.norm_scales ? static_cast<const A*>(p.norm_scales)[r] : A(p.clip_limit)),
        bounds_(p.bounds),
        lower_(storable<T>(p.lower)),
        upper_(storable<T>(p.upper)),
        scalars_(chain_scalars<A>(p, r)),
        stream_(noise_stream(p)),
        chain_(uint32_t(p.first_chain + r)),
        vector_(vector) {
    if constexpr (kTold)
      group_sums_ = static_cast<A*>(p.group_sums) + r * kRowSums * (groups_ = groups_of(p.dim));
  }

  __device__ A u(int64_t i) const {
    return drift(widen(grad_[i]), residual_ ? residual_[i] : A(0));
  }

  __device__ void load(int64_t begin, int n, A (&u)[kQuad]) const {
    A g[kQuad];
    load(begin, n, g, u);
  }

  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const {
    A g[kQuad];
    load(begin, n, g, u);
    if constexpr (kTold) {
      if (sums_of_ != RowSums::statistics) return;
      for (int i = 0; i < kQuad; ++i)
        note(begin, i, term(g[i], g[i]), A(is_clipped(clip_, g[i], limit_)));
    }
  }

  __device__ void put(int64_t begin, int n, const A (&u)[kQuad], const A (&c)[kQuad]) const {
    if (residual_) {
      A lost[kQuad];
      for (int i = 0; i < kQuad; ++i) lost[i] = u[i] - c[i];
      store_quad(residual_, begin, n, vector_, lost);
    }
    A delta[kQuad] = {};
    if (!kTold || x_)
      step(begin, n, c, delta);
    else if (delta_)
      load_quad(delta_, begin, n, vector_, delta);
    if constexpr (kTold) {
      if (drift_) store_quad(drift_, begin, n, vector_, c);
      if (sums_of_ != RowSums::transition) return;
      const bool moved = x_ || delta_;  // else the drift may be anything, times nothing
      for (int i = 0; i < kQuad; ++i)
        note(begin, i, moved ? term(c[i], delta[i]) : A(0), term(c[i], c[i]));
    }
  }

  __device__ bool notes_on_read() const { return kTold && sums_of_ == RowSums::statistics; }

  // The sums over n elements from `tile` on.
  __device__ void end_tile(int64_t tile, int n) const {
    if constexpr (kTold) {
      if (sums_of_ == RowSums::none) return;
      __syncthreads();
      if (warp() < kRowSums) {
        const A* terms = tile_terms<A>() + warp() * kTile;
        const A sum = warp_sum<A>(n, [&](int i) { return terms[i]; });
        if (lane() == 0) group_sums_[warp() * groups_ + tile / kTile] = sum;
      }
      __syncthreads();  // before the next tile's terms are written
    }
  }

 private:
  __device__ A drift(A gradient, A residual) const {
    const A v = clipped(clip_, gradient, limit_);
    return residual_ ? v + residual : v;
  }

  __device__ void load(int64_t begin, int n, A (&g)[kQuad], A (&u)[kQuad]) const {
    T v[kQuad] = {};
    A e[kQuad] = {};
    load_quad(grad_, begin, n, vector_, v);
    if (residual_) load_quad<A>(residual_, begin, n, vector_, e);
    for (int i = 0; i < kQuad; ++i) {
      g[i] = widen(v[i]);
      u[i] = drift(g[i], e[i]);
    }
  }

  // Moves four elements, and says by how much.
  __device__ void step(int64_t begin, int n, const A (&c)[kQuad], A (&delta)[kQuad]) const {
    T v[kQuad] = {};
    float normal[kQuad] = {};
    load_quad(x_, begin, n, vector_, v);
    const bool noisy = scalars_.noise_std != A(0);
    if (noisy) normal4(stream_, chain_, uint32_t(begin / kQuad), normal);
    for (int i = 0; i < kQuad; ++i) {
      const A x = widen(v[i]);
      A moved = move(x, c[i], scalars_.half_step);
      if (noisy) moved = fma(scalars_.noise_std, A(normal[i]), moved);
      if (bounds_ == Bounds::clamp) moved = clamp(moved, lower_, upper_);
      if (bounds_ == Bounds::reflect) moved = reflect(moved, lower_, upper_);
      v[i] = narrow<T>(moved);
      if constexpr (kTold) delta[i] = widen(v[i]) - x;
    }
    store_quad(out_, begin, n, vector_, v);
  }

  __device__ void note(int64_t begin, int i, A first, A second) const {
    A* terms = tile_terms<A>() + begin % kTile + i;
    terms[0] = first;
    terms[kTile] = second;
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
