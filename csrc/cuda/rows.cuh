// A row as the kernels see it: u, what is compressed, read four elements at a time, and put(),
// which takes the compressed c of four elements and does with it what the op is for.
#pragma once

#include "../core/block_sign.h"
#include "../core/langevin_step.h"
#include "../core/normal.h"
#include "../core/topk.h"
#include "device.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

using namespace core;

constexpr int kQuad = 4;  // elements of one random draw, and of one thread's turn

template <class V>
struct alignas(kQuad * sizeof(V) < 16 ? kQuad * sizeof(V) : 16) Quad {
  V v[kQuad];
};

// Elements begin .. begin + n - 1 of a row, n <= 4. `vector` promises that all rows are aligned to
// quads and have only whole ones.
template <class V>
__device__ void load_quad(const V* row, int64_t begin, int n, bool vector, V (&v)[kQuad]) {
  if (vector) {
    const Quad<V> q = *reinterpret_cast<const Quad<V>*>(row + begin);
    for (int i = 0; i < kQuad; ++i) v[i] = q.v[i];
  } else {
    for (int i = 0; i < kQuad; ++i)
      if (i < n) v[i] = row[begin + i];
  }
}

template <class V>
__device__ void store_quad(V* row, int64_t begin, int n, bool vector, const V (&v)[kQuad]) {
  if (vector) {
    Quad<V> q;
    for (int i = 0; i < kQuad; ++i) q.v[i] = v[i];
    *reinterpret_cast<Quad<V>*>(row + begin) = q;
  } else {
    for (int i = 0; i < kQuad; ++i)
      if (i < n) row[begin + i] = v[i];
  }
}

// Of topk_compress and block_sign_compress: u is the row itself, and put stores c.
template <class T>
class CompressRow {
 public:
  using A = Compute<T>;

  template <class Params>
  __device__ CompressRow(const Params& p, int64_t r, bool vector)
      : in_(static_cast<const T*>(p.x) + r * p.dim),
        out_(static_cast<T*>(p.out) + r * p.dim),
        vector_(vector) {}

  __device__ A u(int64_t i) const { return widen(in_[i]); }

  __device__ void load(int64_t begin, int n, A (&u)[kQuad]) const {
    T v[kQuad] = {};
    load_quad(in_, begin, n, vector_, v);
    for (int i = 0; i < kQuad; ++i) u[i] = widen(v[i]);
  }

  __device__ void put(int64_t begin, int n, const A (&)[kQuad], const A (&c)[kQuad]) const {
    T v[kQuad];
    for (int i = 0; i < kQuad; ++i) v[i] = narrow<T>(c[i]);
    store_quad(out_, begin, n, vector_, v);
  }

 private:
  const T* in_;
  T* out_;
  bool vector_;
};

// Of the Langevin step: u is the clipped gradient plus the residual, and put moves the state.
template <class T>
class StepRow {
 public:
  using A = Compute<T>;

  __device__ StepRow(const LangevinStepParams& p, int64_t r, bool vector)
      : x_(static_cast<const T*>(p.x) + r * p.dim),
        grad_(static_cast<const T*>(p.grad) + r * p.dim),
        out_(static_cast<T*>(p.out) + r * p.dim),
        residual_(p.residual ? static_cast<A*>(p.residual) + r * p.dim : nullptr),
        clip_(p.clip),
        limit_(A(p.clip_limit)),
        bounds_(p.bounds),
        lower_(storable<T>(p.lower)),
        upper_(storable<T>(p.upper)),
        scalars_(chain_scalars<A>(p, r)),
        stream_(make_stream(uint64_t(p.key[0]), uint64_t(p.key[1]) + uint64_t(p.offset),
                            Purpose::noise)),
        chain_(uint32_t(p.first_chain + r)),
        vector_(vector) {}

  __device__ A u(int64_t i) const { return drift(grad_[i], residual_ ? residual_[i] : A(0)); }

  __device__ void load(int64_t begin, int n, A (&u)[kQuad]) const {
    T g[kQuad] = {};
    A e[kQuad] = {};
    load_quad(grad_, begin, n, vector_, g);
    if (residual_) load_quad<A>(residual_, begin, n, vector_, e);
    for (int i = 0; i < kQuad; ++i) u[i] = drift(g[i], e[i]);
  }

  __device__ void put(int64_t begin, int n, const A (&u)[kQuad], const A (&c)[kQuad]) const {
    if (residual_) {
      A lost[kQuad];
      for (int i = 0; i < kQuad; ++i) lost[i] = u[i] - c[i];
      store_quad(residual_, begin, n, vector_, lost);
    }
    T v[kQuad] = {};
    float normal[kQuad] = {};
    load_quad(x_, begin, n, vector_, v);
    const bool noisy = scalars_.noise_std != A(0);
    if (noisy) normal4(stream_, chain_, uint32_t(begin / kQuad), normal);
    for (int i = 0; i < kQuad; ++i) {
      A moved = move(widen(v[i]), c[i], scalars_.half_step);
      if (noisy) moved = fma(scalars_.noise_std, A(normal[i]), moved);
      if (bounds_ == Bounds::clamp) moved = clamp(moved, lower_, upper_);
      if (bounds_ == Bounds::reflect) moved = reflect(moved, lower_, upper_);
      v[i] = narrow<T>(moved);
    }
    store_quad(out_, begin, n, vector_, v);
  }

 private:
  __device__ A drift(T gradient, A residual) const {
    A v = widen(gradient);
    if (clip_ == Clip::value) v = clamp(v, -limit_, limit_);
    return residual_ ? v + residual : v;
  }

  const T *x_, *grad_;
  T* out_;
  A* residual_;
  Clip clip_;
  A limit_;
  Bounds bounds_;
  A lower_, upper_;
  ChainScalars<A> scalars_;
  Stream stream_;
  uint32_t chain_;
  bool vector_;
};

// Whether every row of dim elements of type V from `base` on is aligned to quads and whole.
template <class V>
bool whole_quads(const void* base, int64_t dim) {
  return dim % kQuad == 0 && reinterpret_cast<uintptr_t>(base) % alignof(Quad<V>) == 0;
}

template <class T, class Params>
bool can_vectorise(const Params& p) {
  return whole_quads<T>(p.x, p.dim) && whole_quads<T>(p.out, p.dim);
}

template <class T>
bool can_vectorise(const LangevinStepParams& p) {
  return whole_quads<T>(p.x, p.dim) && whole_quads<T>(p.out, p.dim) &&
         whole_quads<T>(p.grad, p.dim) && whole_quads<Compute<T>>(p.residual, p.dim);
}

// Blocks of a grid that walks over `work` items with a stride.
inline unsigned grid_for(int64_t work) {
  constexpr int64_t kMaxBlocks = 1 << 16;
  return unsigned(work < kMaxBlocks ? work : kMaxBlocks);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
