// Standard normals from random words: Box-Muller with a logarithm, a sine and a cosine of our own,
// free of branches and of libm, so that they vectorise and give the same bits everywhere.
#pragma once

#include "philox.h"

namespace effebm::inline EFFEBM_ISA::core {

// Returns log(u) for u = (n + 1/2) / 2^32. If u > 1/sqrt(2), the distance to 1 is taken from the
// complement of n, which is exact, and not from the rounded u.
EFFEBM_HD float log_uniform(uint32_t n) {
  constexpr uint32_t kNearOne = 0xB504F400u;   // 2^32 / sqrt(2), where the exponent below turns 0
  constexpr uint32_t kSqrtHalf = 0x3F3504F3u;  // bits of sqrt(1/2)
  constexpr float kLn2High = 0x1.62e4p-1f;     // few bits: exponent * kLn2High is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  const float u = fma(float(n), 0x1p-32f, 0x1p-33f);
  const uint32_t shifted = to_bits(u) + (0x3F800000u - kSqrtHalf);
  const bool near_one = n >= kNearOne;
  // u = 2^exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2))
  const float exponent = near_one ? 0.0f : float(int32_t(shifted >> 23) - 127);
  const float f = near_one ? fma(float(int32_t(~n & 0x7FFFFFFFu)), -0x1p-32f, -0x1p-33f)
                           : from_bits((shifted & 0x007FFFFFu) + kSqrtHalf) - 1.0f;
  // log(1 + f) = f - f^2 / 2 + f^3 p(f); minimax p, relative error of the whole 2^-27
  float p = -0x1.38b582p-4f;
  p = fma(p, f, 0x1.055b6cp-3f);
  p = fma(p, f, -0x1.0d8542p-3f);
  p = fma(p, f, 0x1.22da1cp-3f);
  p = fma(p, f, -0x1.547244p-3f);
  p = fma(p, f, 0x1.99a008p-3f);
  p = fma(p, f, -0x1.000226p-2f);
  p = fma(p, f, 0x1.555554p-2f);
  const float f2 = f * f;
  float tail = (p * f) * f2;
  tail = fma(exponent, kLn2Low, tail);
  tail = fma(-0.5f, f2, tail);
  return fma(exponent, kLn2High, f + tail);
}

// Computes cos and sin of 2 pi n / 2^32. After a rotation by an eighth of a turn the top two bits
// give the quadrant, and the rest gives t in [-1, 1) eighths of a turn.
EFFEBM_HD void cos_sin_turn(uint32_t n, float& cosine, float& sine) {
  const uint32_t rotated = n + 0x20000000u;
  const uint32_t quadrant = rotated >> 30;
  const float t = float(int32_t(rotated & 0x3FFFFFFFu) - 0x20000000) * 0x1p-29f;
  const float t2 = t * t;
  // sin(pi/4 t) = t (pi/4 + t^2 s(t^2)), pi/4 in two parts; cos(pi/4 t) = 1 + t^2 c(t^2)
  float s = -0x1.2dc84cp-15f;
  s = fma(s, t2, 0x1.466004p-9f);
  s = fma(s, t2, -0x1.4abbbep-4f);
  s = fma(s, t2, -0x1.777a5cp-26f);
  s = fma(t, 0x1.921fb6p-1f, t * s);
  float c = 0x1.d9d57ep-19f;
  c = fma(c, t2, -0x1.55c5e0p-12f);
  c = fma(c, t2, 0x1.03c1dep-6f);
  c = fma(c, t2, -0x1.3bd3ccp-2f);
  c = fma(c, t2, 1.0f);
  const bool swap = quadrant & 1u;
  cosine = from_bits(to_bits(swap ? s : c) ^ ((quadrant + 1u) & 2u) << 30);
  sine = from_bits(to_bits(swap ? c : s) ^ (quadrant & 2u) << 30);
}

// Makes two independent normals from two words, |normal| < 6.77.
EFFEBM_HD void box_muller(uint32_t radius_word, uint32_t angle_word, float& n0, float& n1) {
  const float radius = sqrt(-2.0f * log_uniform(radius_word));
  float cosine, sine;
  cos_sin_turn(angle_word, cosine, sine);
  n0 = radius * cosine;
  n1 = radius * sine;
}

// Draws the noise of elements 4 * quad .. 4 * quad + 3 of one chain.
EFFEBM_HD void normal4(const Stream& stream, uint32_t chain, uint32_t quad, float (&n)[4]) {
  const Words r = draw(stream, chain, quad);
  box_muller(r.w[0], r.w[1], n[0], n[1]);
  box_muller(r.w[2], r.w[3], n[2], n[3]);
}

}  // namespace effebm::inline EFFEBM_ISA::core
