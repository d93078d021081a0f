// Flushing denormals to zero is a setting of each thread.
#pragma once

#include "../core/arith.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

// Denormals are numbers while this exists, whatever the thread has set.
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

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
