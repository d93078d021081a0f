// Arithmetic that gives the same bits from every compiler and device.
//
// Plain +, - and * are used as written: the build forbids contraction (-ffp-contract=off, nvcc
// -fmad=false). Operations that could differ go through the named functions below.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __FAST_MATH__
#error "the numerical contract does not hold under -ffast-math"
#endif

#ifdef __CUDACC__
#define EFFEBM_HD __host__ __device__ __forceinline__
#else
#define EFFEBM_HD inline
#endif

// Objects compiled for different instruction sets must not share inline functions, or the linker
// could keep the AVX-512 copy for everyone. Each instruction set is therefore a namespace.
#ifndef EFFEBM_ISA
#define EFFEBM_ISA baseline
#endif

namespace effebm::inline EFFEBM_ISA::core {

EFFEBM_HD uint32_t to_bits(float v) {
  uint32_t b;
  memcpy(&b, &v, sizeof b);
  return b;
}

EFFEBM_HD uint64_t to_bits(double v) {
  uint64_t b;
  memcpy(&b, &v, sizeof b);
  return b;
}

EFFEBM_HD float from_bits(uint32_t b) {
  float v;
  memcpy(&v, &b, sizeof v);
  return v;
}

EFFEBM_HD double from_bits(uint64_t b) {
  double v;
  memcpy(&v, &b, sizeof v);
  return v;
}

// On a device the compiler's flags would decide how these round, so the rounding is named.
#ifdef __CUDA_ARCH__
EFFEBM_HD float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
EFFEBM_HD double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
EFFEBM_HD float sqrt(float v) { return __fsqrt_rn(v); }
EFFEBM_HD double sqrt(double v) { return __dsqrt_rn(v); }
EFFEBM_HD float divide(float a, float b) { return __fdiv_rn(a, b); }
EFFEBM_HD double divide(double a, double b) { return __ddiv_rn(a, b); }
EFFEBM_HD float abs(float v) { return ::fabsf(v); }
EFFEBM_HD double abs(double v) { return ::fabs(v); }
EFFEBM_HD float copysign(float size, float sign) { return ::copysignf(size, sign); }
EFFEBM_HD double copysign(double size, double sign) { return ::copysign(size, sign); }
#else
// Returns a * b + c, rounded once.
EFFEBM_HD float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
EFFEBM_HD double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
EFFEBM_HD float sqrt(float v) { return __builtin_sqrtf(v); }
EFFEBM_HD double sqrt(double v) { return __builtin_sqrt(v); }
EFFEBM_HD float divide(float a, float b) { return a / b; }
EFFEBM_HD double divide(double a, double b) { return a / b; }
EFFEBM_HD float abs(float v) { return __builtin_fabsf(v); }
EFFEBM_HD double abs(double v) { return __builtin_fabs(v); }
EFFEBM_HD float copysign(float size, float sign) { return __builtin_copysignf(size, sign); }
EFFEBM_HD double copysign(double size, double sign) { return __builtin_copysign(size, sign); }
#endif

}  // namespace effebm::inline EFFEBM_ISA::core
