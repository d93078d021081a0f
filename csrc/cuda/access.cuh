// How threads reach memory: neighbouring elements as vectors, or one by one.
#pragma once

#include <type_traits>

#include "../core/dtype.h"
#include "block.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The way in which all threads of a kernel reach rows: so many elements at a time, by vectors or
// one by one. Vectors need rows of whole vectors, all of them aligned.
template <int kElements_, bool kVector_>
struct Access {
  static constexpr int kElements = kElements_;
  static constexpr bool kVector = kVector_;
};

// N values as vectors of 8 or 16 bytes, each of which memory takes at once. Stores name the
// vectors, because the compiler splits a store in four where the same values may also be stored one
// by one.
template <class V, int N>
struct Vectors {
  static constexpr int kBytes = N * int(sizeof(V));
  using Vector = std::conditional_t < kBytes<16, uint2, uint4>;
  static constexpr int kCount = kBytes / int(sizeof(Vector));
  static_assert(kCount > 0, "four values of one byte would need a vector of 4 bytes");
  Vector vector[kCount];
};

// Loads the n elements from `from` on, where 0 < n <= N, and n = N for vectors.
template <class Access, class V, int N>
__device__ void load(const V* from, int n, V (&v)[N]) {
  if constexpr (Access::kVector) {
    const Vectors<V, N> q = *reinterpret_cast<const Vectors<V, N>*>(from);
    memcpy(v, &q, sizeof q);
  } else {
    for (int i = 0; i < N; ++i)
      if (i < n) v[i] = from[i];
  }
}

template <class Access, class V, int N>
__device__ void store(V* to, int n, const V (&v)[N]) {
  if constexpr (Access::kVector) {
    Vectors<V, N> q;
    memcpy(&q, v, sizeof q);
    for (int i = 0; i < Vectors<V, N>::kCount; ++i)
      __stwb(reinterpret_cast<Vectors<V, N>*>(to)->vector + i, q.vector[i]);
  } else {
    for (int i = 0; i < N; ++i)
      if (i < n) to[i] = v[i];
  }
}

// Tells whether rows of dim elements of type V can be reached by vectors of N elements.
template <class V>
bool whole_vectors(const void* base, int64_t dim, int N) {
  const size_t alignment = N * sizeof(V) < 16 ? alignof(uint2) : alignof(uint4);
  return dim % N == 0 && reinterpret_cast<uintptr_t>(base) % alignment == 0;
}

// Returns the number of blocks of a grid that walks over `work` items with a stride.
inline unsigned grid_for(int64_t work) { return unsigned(work < kMaxBlocks ? work : kMaxBlocks); }

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
