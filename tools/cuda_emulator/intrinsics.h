// Device functions that involve one thread only.
#pragma once

#include "warp.h"

namespace effebm::emulator::device {

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline int __clzll(long long v) {
  return v ? __builtin_clzll(static_cast<unsigned long long>(v)) : 64;
}
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}

inline unsigned __float_as_uint(float v) { return unpack<unsigned>(pack(v)); }
inline float __uint_as_float(unsigned v) { return unpack<float>(pack(v)); }

// The build forbids contraction, so + and * round on their own.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fsqrt_rn(float v) { return __builtin_sqrtf(v); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline double __dsqrt_rn(double v) { return __builtin_sqrt(v); }

#define EFFEBM_EMULATOR_MIN_MAX(T)                 \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
EFFEBM_EMULATOR_MIN_MAX(int)
EFFEBM_EMULATOR_MIN_MAX(unsigned)
EFFEBM_EMULATOR_MIN_MAX(long)
EFFEBM_EMULATOR_MIN_MAX(unsigned long)
EFFEBM_EMULATOR_MIN_MAX(long long)
EFFEBM_EMULATOR_MIN_MAX(unsigned long long)
#undef EFFEBM_EMULATOR_MIN_MAX
// These return the number where only one operand is a number.
inline float min(float a, float b) { return __builtin_fminf(a, b); }
inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
inline double min(double a, double b) { return __builtin_fmin(a, b); }
inline double max(double a, double b) { return __builtin_fmax(a, b); }

template <class T>
T __ldg(const T* address) {
  check_alignment(address, sizeof(T));
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  check_alignment(address, sizeof(T));
  return *address;
}
template <class T>
void __stcs(T* address, std::type_identity_t<T> value) {
  check_alignment(address, sizeof(T));
  *address = value;
}
template <class T>
void __stwb(T* address, std::type_identity_t<T> value) {
  check_alignment(address, sizeof(T));
  *address = value;
}

inline void __threadfence_block() { memory_fence(); }
inline void __threadfence() { memory_fence(); }
inline void __threadfence_system() { memory_fence(); }
inline void __nanosleep(unsigned) { preemption_point(); }
[[noreturn]] inline void __trap() { fail("__trap"); }

}  // namespace effebm::emulator::device
