// The few vector operations that compilers do not find by themselves, for the instruction set this
// file is compiled for. All others are plain loops.
#pragma once

#include "../core/arith.h"

#if defined(__AVX2__)
#include <immintrin.h>

#define EFFEBM_SIMD  // without it the same work is done by plain loops

namespace effebm::inline EFFEBM_ISA::simd {

#if defined(__AVX512F__)

using Vector = __m512i;
using Floats = __m512;

inline Vector load(const void* p) { return _mm512_loadu_si512(p); }
inline void store(void* p, Vector v) { _mm512_storeu_si512(p, v); }
inline Floats load_floats(const void* p) { return _mm512_loadu_ps(p); }
inline void store(void* p, Floats v) { _mm512_storeu_ps(p, v); }
inline Vector broadcast64(uint64_t v) { return _mm512_set1_epi64(int64_t(v)); }

// Multiplies the lower halves of lanes of 64 bits; the next function moves their upper halves down.
inline Vector product(Vector a, Vector b) { return _mm512_mul_epu32(a, b); }
inline Vector upper_half(Vector a) { return _mm512_srli_epi64(a, 32); }
inline Vector add64(Vector a, Vector b) { return _mm512_add_epi64(a, b); }
inline Vector xor3(Vector a, Vector b, Vector c) {
  return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

// Puts the lower halves of a into the even lanes of 32 bits, and the lower halves of b into the odd
// ones.
inline Vector join_halves(Vector a, Vector b) {
  return _mm512_mask_shuffle_epi32(a, 0xAAAA, b, _MM_PERM_CCAA);
}

// These make a0 b0 a1 b1 and a2 b2 a3 b3 of every four lanes, and then the same with pairs for
// elements.
inline Floats zip_low(Floats a, Floats b) { return _mm512_unpacklo_ps(a, b); }
inline Floats zip_high(Floats a, Floats b) { return _mm512_unpackhi_ps(a, b); }
inline Floats zip_pairs_low(Floats a, Floats b) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
inline Floats zip_pairs_high(Floats a, Floats b) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

// The lanes of v that are in [low, high], and those above high, one bit each.
struct Lanes {
  unsigned between, above;
};
inline Lanes compare(Vector v, uint32_t low, uint32_t high) {
  const Vector h = _mm512_set1_epi32(int(high));
  const __mmask16 below = _mm512_cmple_epu32_mask(v, h);
  const Vector l = _mm512_set1_epi32(int(low));
  return {_mm512_mask_cmpge_epu32_mask(below, v, l), unsigned(__mmask16(~below))};
}
inline Lanes compare(Vector v, uint64_t low, uint64_t high) {
  const __mmask8 below = _mm512_cmple_epu64_mask(v, broadcast64(high));
  return {_mm512_mask_cmpge_epu64_mask(below, v, broadcast64(low)), unsigned(__mmask8(~below))};
}

// Closes up the chosen lanes of v; the lanes behind them are anything.
inline Vector close_up(Vector v, unsigned chosen, uint32_t) {
  return _mm512_maskz_compress_epi32(__mmask16(chosen), v);
}
inline Vector close_up(Vector v, unsigned chosen, uint64_t) {
  return _mm512_maskz_compress_epi64(__mmask8(chosen), v);
}

#else

using Vector = __m256i;
using Floats = __m256;

inline Vector load(const void* p) { return _mm256_loadu_si256(static_cast<const Vector*>(p)); }
inline void store(void* p, Vector v) { _mm256_storeu_si256(static_cast<Vector*>(p), v); }
inline Floats load_floats(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
inline void store(void* p, Floats v) { _mm256_storeu_ps(static_cast<float*>(p), v); }
inline Vector broadcast64(uint64_t v) { return _mm256_set1_epi64x(int64_t(v)); }

inline Vector product(Vector a, Vector b) { return _mm256_mul_epu32(a, b); }
inline Vector upper_half(Vector a) { return _mm256_srli_epi64(a, 32); }
inline Vector add64(Vector a, Vector b) { return _mm256_add_epi64(a, b); }
inline Vector xor3(Vector a, Vector b, Vector c) {
  return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}
inline Vector join_halves(Vector a, Vector b) {
  return _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xAA);
}

inline Floats zip_low(Floats a, Floats b) { return _mm256_unpacklo_ps(a, b); }
inline Floats zip_high(Floats a, Floats b) { return _mm256_unpackhi_ps(a, b); }
inline Floats zip_pairs_low(Floats a, Floats b) {
  return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}
inline Floats zip_pairs_high(Floats a, Floats b) {
  return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}

struct Lanes {
  unsigned between, above;
};
// Keys have no sign bit, so a signed comparison will do.
inline Lanes compare(Vector v, uint32_t low, uint32_t high) {
  const Vector above = _mm256_cmpgt_epi32(v, _mm256_set1_epi32(int(high)));
  const Vector below = _mm256_cmpgt_epi32(_mm256_set1_epi32(int(low)), v);
  const auto bits = [](Vector m) { return unsigned(_mm256_movemask_ps(_mm256_castsi256_ps(m))); };
  return {~bits(_mm256_or_si256(above, below)) & 0xFFu, bits(above)};
}
inline Lanes compare(Vector v, uint64_t low, uint64_t high) {
  const Vector above = _mm256_cmpgt_epi64(v, broadcast64(high));
  const Vector below = _mm256_cmpgt_epi64(broadcast64(low), v);
  const auto bits = [](Vector m) { return unsigned(_mm256_movemask_pd(_mm256_castsi256_pd(m))); };
  return {~bits(_mm256_or_si256(above, below)) & 0xFu, bits(above)};
}

// The numbers of the chosen lanes, a byte each, for every choice among eight lanes.
struct CloseUpTable {
  uint64_t order[256];
  constexpr CloseUpTable() : order() {
    for (unsigned chosen = 0; chosen < 256; ++chosen)
      for (unsigned lane = 0, next = 0; lane < 8; ++lane)
        if (chosen >> lane & 1) order[chosen] |= uint64_t(lane) << (8 * next++);
  }
};
inline constexpr CloseUpTable kCloseUp;

inline Vector close_up(Vector v, unsigned chosen, uint32_t) {
  const __m128i order = _mm_cvtsi64_si128(int64_t(kCloseUp.order[chosen]));
  return _mm256_permutevar8x32_epi32(v, _mm256_cvtepu8_epi32(order));
}
inline Vector close_up(Vector v, unsigned chosen, uint64_t) {
  unsigned halves = 0;
  for (int lane = 0; lane < 4; ++lane) halves |= (chosen >> lane & 1) * 3u << (2 * lane);
  return close_up(v, halves, uint32_t());
}

#endif

}  // namespace effebm::inline EFFEBM_ISA::simd
#endif
