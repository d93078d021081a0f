// Checks the 16-bit types: every pattern there and back, and rounding against distances in double.
#include "../core/dtype.h"

#include "check.h"
#include "values.h"

namespace effebm::test {
namespace {

// Returns the value of a positive pattern, from the definition of the format; infinity has the
// value that it would have if the exponents went on.
template <class T>
double value(uint32_t bits) {
  constexpr int kMantissa = std::is_same_v<T, bfloat16> ? 7 : 10;
  constexpr int kBias = std::is_same_v<T, bfloat16> ? 127 : 15;
  const int exponent = int(bits >> kMantissa);
  const double fraction = std::ldexp(double(bits & ((1u << kMantissa) - 1)), -kMantissa);
  return exponent ? std::ldexp(1 + fraction, exponent - kBias) : std::ldexp(fraction, 1 - kBias);
}

template <class T>
void round_trip() {
  constexpr uint32_t kInfinity = Storage<T>::infinity;
  for (uint32_t b = 0; b < 0x10000u; ++b) {
    const float wide = widen(of_bits<T>(b));
    const uint32_t back = narrow<T>(wide).bits, magnitude = b & 0x7FFFu;
    const bool nan = magnitude > kInfinity;
    CHECK(std::isnan(wide) == nan, b, wide);
    CHECK(nan ? (back & 0x7FFFu) > kInfinity && back >> 15 == b >> 15 : back == b, b, back);
    if (magnitude < kInfinity) CHECK(std::fabs(double(wide)) == value<T>(magnitude), b, wide);
    if (magnitude == kInfinity) CHECK(std::isinf(wide), b, wide);
  }
}

// Checks values between every two neighbours: near both, about the middle, and anywhere.
template <class T>
void rounding() {
  std::mt19937_64 random(1);
  for (uint32_t b = 0; b < Storage<T>::infinity; ++b) {
    const double low = value<T>(b), high = value<T>(b + 1), middle = (low + high) / 2;
    const float any = float(low + (high - low) * uniform(random)), half = float(middle);
    for (float v : {float(low), std::nextafter(float(low), half), std::nextafter(half, 0.0f), half,
                    std::nextafter(half, INFINITY), std::nextafter(float(high), 0.0f), any}) {
      if (!(double(v) >= low && double(v) < high)) continue;
      const double down = double(v) - low, up = high - double(v);
      const bool rounds_up = up < down || (up == down && (b & 1u));
      const uint32_t expected = rounds_up ? b + 1 : b;
      const uint32_t positive = narrow<T>(v).bits, negative = narrow<T>(-v).bits;
      CHECK(positive == expected, v, positive, expected);
      CHECK(negative == (expected | 0x8000u), v, negative, expected);
    }
  }
  for (float v : {float(value<T>(Storage<T>::infinity)), INFINITY})
    CHECK(narrow<T>(v).bits == Storage<T>::infinity, v);
}

// Checks NaNs, also those whose payload is in the part that is cut off.
template <class T>
void nan_stays_nan() {
  std::mt19937_64 random(2);
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t payload = uint32_t(random() >> (32 + random() % 23)) & 0x007FFFFFu;
    const uint32_t b = 0x7F800000u | (payload ? payload : 1u) | uint32_t(random() & 0x80000000u);
    const T narrowed = narrow<T>(from_bits(b));
    CHECK(std::isnan(widen(narrowed)) && narrowed.bits >> 15 == b >> 31, b, narrowed.bits);
  }
}

void other_types_pass() {
  CHECK(narrow<float>(widen(0x1.000002p0f)) == 0x1.000002p0f);
  CHECK(narrow<double>(widen(0x1.0000000000001p0)) == 0x1.0000000000001p0);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  round_trip<bfloat16>();
  round_trip<float16>();
  rounding<bfloat16>();
  rounding<float16>();
  nan_stays_nan<bfloat16>();
  nan_stays_nan<float16>();
  other_types_pass();
  return report();
}
