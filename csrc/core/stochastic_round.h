// Stochastic rounding: a number goes to one of its two neighbours in a shorter type at random, so
// that its mean is the number. This file has the parameters of the op that only rounds, and how one
// element is rounded; Langevin steps of 16-bit states round likewise.
#pragma once

#include "dtype.h"
#include "philox.h"

namespace effebm {

// What an element becomes: a float of 16 or 8 bits, or one of the codes 0 ... 255, which lie evenly
// from `lower` to `upper`.
enum class Rounded : int { bfloat16, float16, float8, code };

// Rows of dim contiguous elements.
struct StochasticRoundParams {
  Rounded to;
  int64_t rows, dim;
  const float* x;
  void* out;
  const int64_t* key;  // seed, offset
  int64_t offset;      // added to the key's offset
  int64_t first_chain;
  int32_t purpose;              // as core::Purpose numbers them
  float lower, codes_per_unit;  // of codes: 255 / (upper - lower)
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

struct float8 {  // e5m2: the upper half of a float16
  uint8_t bits;
};

struct code {
  uint8_t value;
};

// Rounds by the upper 16 bits of the element's random word. Numbers that the type holds stay, and
// so do infinities and NaN.
template <class T>
EFFEBM_HD T round_at_random(float v, uint32_t word);

// Floats with the exponents of float16 end before it: 2^16.
constexpr uint32_t kTooLarge = 0x47800000u;

// A carry from the bits that are dropped goes into the bits that stay, and on into the exponent.
template <>
EFFEBM_HD bfloat16 round_at_random<bfloat16>(float v, uint32_t word) {
  const uint32_t b = to_bits(v);
  const bool finite = (b & 0x7F800000u) != 0x7F800000u;
  const bfloat16 nearest = narrow<bfloat16>(v);
  return {finite ? uint16_t((b + (word >> 16)) >> 16) : nearest.bits};
}

// Rounds the bits of |v| < 2^16 to a float with float16's exponents and `mantissa_bits`.
EFFEBM_HD uint32_t half_at_random(uint32_t b, int mantissa_bits, uint32_t word) {
  constexpr uint32_t kLeastNormal = 0x38800000u;  // 2^-14
  const int dropped = 23 - mantissa_bits;
  const uint32_t random = dropped < 16 ? word >> (32 - dropped) : word >> 16 << (dropped - 16);
  const uint32_t normal = (b - (112u << 23) + random) >> dropped;
  // Denormals lie 2^-14 / 2^mantissa_bits apart; 16 more bits decide which of two it becomes.
  const float units = from_bits(uint32_t(127 + 30 + mantissa_bits) << 23);
  const float small = from_bits(b < kLeastNormal ? b : 0u) * units;
  const uint32_t denormal = (uint32_t(int32_t(small)) + (word >> 16)) >> 16;
  return b < kLeastNormal ? denormal : normal;
}

template <>
EFFEBM_HD float16 round_at_random<float16>(float v, uint32_t word) {
  const uint32_t b = to_bits(v) & 0x7FFFFFFFu, sign = to_bits(v) >> 16 & 0x8000u;
  const float16 nearest = narrow<float16>(v);
  const uint32_t rounded = half_at_random(b, 10, word) | sign;
  return {b < kTooLarge ? uint16_t(rounded) : nearest.bits};
}

template <>
EFFEBM_HD float8 round_at_random<float8>(float v, uint32_t word) {
  const uint32_t b = to_bits(v) & 0x7FFFFFFFu, sign = to_bits(v) >> 24 & 0x80u;
  const uint32_t not_finite = b > 0x7F800000u ? 0x7Eu : 0x7Cu;
  return {uint8_t((b < kTooLarge ? half_at_random(b, 2, word) : not_finite) | sign)};
}

// Returns the code of v; codes_per_unit is 255 / (upper - lower). Outside of the range it is the
// nearest one, and of NaN it is 0.
EFFEBM_HD code code_at_random(float v, float lower, float codes_per_unit, uint32_t word) {
  const float at = (v - lower) * codes_per_unit;
  const float inside = at > 0.0f ? (at < 255.0f ? at : 255.0f) : 0.0f;
  return {uint8_t((uint32_t(int32_t(inside * 0x1p16f)) + (word >> 16)) >> 16)};
}

EFFEBM_HD Stream stream_of(const StochasticRoundParams& p) {
  return make_stream(uint64_t(p.key[0]), uint64_t(p.key[1]) + uint64_t(p.offset),
                     Purpose(p.purpose));
}

template <class T>
EFFEBM_HD T rounded(const StochasticRoundParams&, float v, uint32_t word) {
  return round_at_random<T>(v, word);
}
template <>
EFFEBM_HD code rounded<code>(const StochasticRoundParams& p, float v, uint32_t word) {
  return code_at_random(v, p.lower, p.codes_per_unit, word);
}

// Calls f(T()) with the type of the results.
template <class F>
void dispatch(Rounded to, const F& f) {
  switch (to) {
    case Rounded::bfloat16:
      return f(bfloat16());
    case Rounded::float16:
      return f(float16());
    case Rounded::float8:
      return f(float8());
    case Rounded::code:
      return f(code());
  }
}

}  // namespace effebm::inline EFFEBM_ISA::core
