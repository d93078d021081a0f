// A row as the kernels see it, four elements at a time. load() gives u, the values to be
// compressed. It may be called again and again, also in two parts, of which fetch() asks memory and
// waits for nothing. read() is the load() of the last pass: it is called once for every element,
// before put(), which takes the compressed c and does with it what the op is for. All threads of a
// block call end_tile() when they are done with a tile or, where sums_on_read(), have read it. A
// tile is a quad of every thread, in the order of the threads.
#pragma once

#include <type_traits>

#include "../core/dtype.h"
#include "block.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Four values as vectors of 8 or 16 bytes, each of which memory takes at once. Stores name the
// vectors, because the compiler splits a store in four where the same values may also be stored one
// by one.
template <class V>
struct Quad {
  using Vector = std::conditional_t<kQuad * sizeof(V) < 16, uint2, uint4>;
  static constexpr int kVectors = kQuad * sizeof(V) / sizeof(Vector);
  static_assert(kVectors > 0, "four values of one byte would need a vector of 4 bytes");
  Vector vector[kVectors];
};

// A part of a row.
struct Slice {
  int64_t begin, end;
};

// The short rows that a block has at once. Each has `width` threads, `before` of them come before
// this thread's row, and `rows` are left from the first of them on.
struct Band {
  int width;
  int64_t before, rows;
};

// Calls f(begin, n, tile) for this thread's quad of every tile of a slice, with n = 0 behind the
// slice's end, so that all threads take part.
template <class F>
__device__ void for_tiles(const Slice& slice, const F& f) {
  const int tile_size = threads() * kQuad;
  for (int64_t tile = slice.begin; tile < slice.end; tile += tile_size) {
    const int64_t begin = tile + int(threadIdx.x) * kQuad;
    const int64_t left = slice.end - begin;
    f(begin, left <= 0 ? 0 : left < kQuad ? int(left) : kQuad, tile);
  }
}

// Loads elements begin .. begin + n - 1 of a row, n <= 4. `vector` promises that all rows are
// aligned to quads and have only whole quads.
template <class V>
__device__ void load_quad(const V* row, int64_t begin, int n, bool vector, V (&v)[kQuad]) {
  if (vector) {
    const Quad<V> q = *reinterpret_cast<const Quad<V>*>(row + begin);
    memcpy(v, &q, sizeof q);
  } else {
    for (int i = 0; i < kQuad; ++i)
      if (i < n) v[i] = row[begin + i];
  }
}

template <class V>
__device__ void store_quad(V* row, int64_t begin, int n, bool vector, const V (&v)[kQuad]) {
  if (vector) {
    Quad<V> q;
    memcpy(&q, v, sizeof q);
    for (int i = 0; i < Quad<V>::kVectors; ++i)
      __stwb(reinterpret_cast<Quad<V>*>(row + begin)->vector + i, q.vector[i]);
  } else {
    for (int i = 0; i < kQuad; ++i)
      if (i < n) row[begin + i] = v[i];
  }
}

// Stores a whole quad to shared memory.
template <class V>
__device__ void hold_quad(V* row, int64_t begin, const V (&v)[kQuad]) {
  Quad<V> q;
  memcpy(&q, v, sizeof q);
  *reinterpret_cast<Quad<V>*>(row + begin) = q;
}

// A row of the op compress: u is the row itself, and put stores c.
template <class T>
class CompressRow {
 public:
  using A = Compute<T>;
  // The number of sums over a row whose terms are gathered in shared memory.
  static constexpr int kSharedSums = 0;

  template <class Params>
  __device__ CompressRow(const Params& p, int64_t r, bool vector, const Slice& = {})
      : in_(static_cast<const T*>(p.x) + r * p.dim),
        out_(static_cast<T*>(p.out) + r * p.dim),
        vector_(vector) {}

  __device__ A u(int64_t i) const { return widen(in_[i]); }

  struct Fetched {
    T v[kQuad];
  };
  __device__ Fetched fetch(int64_t begin, int n) const {
    Fetched f = {};
    load_quad(in_, begin, n, vector_, f.v);
    return f;
  }
  __device__ void load(const Fetched& f, A (&u)[kQuad]) const {
    for (int i = 0; i < kQuad; ++i) u[i] = widen(f.v[i]);
  }
  __device__ void load(int64_t begin, int n, A (&u)[kQuad]) const { load(fetch(begin, n), u); }

  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const { load(begin, n, u); }

  __device__ void put(int64_t begin, int n, const A (&)[kQuad], const A (&c)[kQuad]) const {
    T v[kQuad];
    for (int i = 0; i < kQuad; ++i) v[i] = narrow<T>(c[i]);
    store_quad(out_, begin, n, vector_, v);
  }

  __device__ void end_tile(int64_t, int64_t) const {}
  __device__ void end_tile(int64_t, int64_t, const Band&) const {}
  static __device__ bool sums_on_read() { return false; }

 private:
  const T* in_;
  T* out_;
  bool vector_;
};

// Tells whether every row of dim elements of type V from `base` on is aligned to quads and has only
// whole quads.
template <class V>
bool whole_quads(const void* base, int64_t dim) {
  return dim % kQuad == 0 && reinterpret_cast<uintptr_t>(base) % alignof(Quad<V>) == 0;
}

template <class T, class Params>
bool can_vectorise(const Params& p) {
  return whole_quads<T>(p.x, p.dim) && whole_quads<T>(p.out, p.dim);
}

// Returns the number of blocks of a grid that walks over `work` items with a stride.
inline unsigned grid_for(int64_t work) { return unsigned(work < kMaxBlocks ? work : kMaxBlocks); }

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
