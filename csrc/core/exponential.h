// The exponential of numbers that are not positive, as probabilities need it. Only plain operations
// of double make it, and no libm, so that it has the same bits everywhere.
#pragma once

#include "arith.h"

namespace effebm::inline EFFEBM_ISA::core {

// Returns exp(x) for x <= 0, -inf included, within an ulp; it underflows gradually.
EFFEBM_HD double exp_not_positive(double x) {
  constexpr double kSmallest = -746.0;  // below it every result rounds to zero
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42fefa38p-1;  // 42 bits: n * kLn2High is exact
  constexpr double kLn2Low = 0x1.ef35793c7673p-45;
  constexpr double kInteger = 0x1.8p52;  // a sum with it is an integer, in the lowest bits
  if (x < kSmallest) return 0.0;
  // x = n ln 2 + r with |r| <= ln(2) / 2 but for rounding
  const double shifted = x * kLog2E + kInteger;
  const double n = shifted - kInteger;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  // exp(r) = 1 + (r + r^2 p(r)), where p has the terms of the series up to r^13
  double p = 0x1.6124613a86d09p-33;
  p = p * r + 0x1.1eed8eff8d898p-29;
  p = p * r + 0x1.ae64567f544e4p-26;
  p = p * r + 0x1.27e4fb7789f5cp-22;
  p = p * r + 0x1.71de3a556c734p-19;
  p = p * r + 0x1.a01a01a01a01ap-16;
  p = p * r + 0x1.a01a01a01a01ap-13;
  p = p * r + 0x1.6c16c16c16c17p-10;
  p = p * r + 0x1.1111111111111p-7;
  p = p * r + 0x1.5555555555555p-5;
  p = p * r + 0x1.5555555555555p-3;
  p = p * r + 0.5;
  const double value = 1.0 + (r + r * r * p);
  // 2^n may be too small for a double, so it comes in two halves; only the last product rounds.
  const int32_t exponent = int32_t(n), half = exponent / 2;
  const double first = from_bits(uint64_t(1023 + half) << 52);
  const double second = from_bits(uint64_t(1023 + exponent - half) << 52);
  return value * first * second;
}

}  // namespace effebm::inline EFFEBM_ISA::core
