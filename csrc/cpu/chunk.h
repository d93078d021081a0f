// How the CPU kernels walk a row: in chunks that stay in the first-level cache.
#pragma once

#include "../core/canonical_sum.h"
#include "../core/dtype.h"
#include "../core/langevin_step.h"
#include "../core/normal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

using namespace core;

constexpr int kChunk = 1024;  // a multiple of 4, the elements of one random draw
static_assert(kChunk <= kSumWidth);

// Denormals are numbers while a kernel runs, whatever the calling thread has set.
class KeepDenormals {
 public:
#if defined(__x86_64__)
  KeepDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ & ~kFlushBits); }
  ~KeepDenormals() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kFlushBits = 0x8040;  // FTZ, DAZ
  unsigned saved_;
#elif defined(__aarch64__)
  KeepDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ & ~(uint64_t(1) << 24)));
  }
  ~KeepDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  uint64_t saved_;
#else
  KeepDenormals() {}

 private:
#endif
  KeepDenormals(const KeepDenormals&) = delete;
};

// The row a compressor sees: u = clip(values) + residual, computed chunk by chunk where needed.
template <class T>
struct RowInput {
  using A = Compute<T>;
  const T* values;
  const A* residual = nullptr;
  bool clipped = false;
  A limit = 0;

  void load(int64_t begin, int n, A* u) const {
    const T* v = values + begin;
    for (int i = 0; i < n; ++i) u[i] = widen(v[i]);
    if (clipped)
      for (int i = 0; i < n; ++i) u[i] = clamp(u[i], -limit, limit);
    if (residual)
      for (int i = 0; i < n; ++i) u[i] = u[i] + residual[begin + i];
  }
};

// normals[0 .. 4 * quads) = the noise of elements 4 * first_quad onwards. Plain loops over arrays,
// so that the compiler turns each into vector code.
inline void fill_normals(const Stream& stream, uint32_t chain, int64_t first_quad, int quads,
                         float* normals) {
  uint32_t words[4][kChunk / 4];
  for (int q = 0; q < quads; ++q) {
    const Words r = draw(stream, chain, uint32_t(first_quad) + uint32_t(q));
    for (int i = 0; i < 4; ++i) words[i][q] = r.w[i];
  }
  for (int q = 0; q < quads; ++q) {
    box_muller(words[0][q], words[1][q], normals[4 * q], normals[4 * q + 1]);
    box_muller(words[2][q], words[3][q], normals[4 * q + 2], normals[4 * q + 3]);
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
