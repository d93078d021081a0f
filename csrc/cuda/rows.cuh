// A row as the kernels see it: u, what is compressed, four elements at a time, and put(), which
// takes the compressed c of four elements and does with it what the op is for. load() may be called
// again and again; read() is for the last pass, once for every element, just before its put(). All
// threads of a block call end_tile() when those of a tile are through, or have been read where
// notes_on_read().
#pragma once

#include "../core/block_sign.h"
#include "../core/topk.h"
#include "block.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

constexpr int kQuad = 4;  // elements of one random draw, and of one thread's turn
constexpr int kTile = kThreads * kQuad;
constexpr int kWarpQuads = kWarpSize * kQuad;  // elements that a warp reads at a time

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
  static constexpr bool kNotes = false;  // sums of tiles in shared memory, by whole thread blocks

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

  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const { load(begin, n, u); }

  __device__ void put(int64_t begin, int n, const A (&)[kQuad], const A (&c)[kQuad]) const {
    T v[kQuad];
    for (int i = 0; i < kQuad; ++i) v[i] = narrow<T>(c[i]);
    store_quad(out_, begin, n, vector_, v);
  }

  __device__ void end_tile(int64_t, int) const {}
  static __device__ bool notes_on_read() { return false; }

 private:
  const T* in_;
  T* out_;
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

// Blocks of a grid that walks over `work` items with a stride.
inline unsigned grid_for(int64_t work) {
  constexpr int64_t kMaxBlocks = 1 << 16;
  return unsigned(work < kMaxBlocks ? work : kMaxBlocks);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
