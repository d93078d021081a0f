// bfloat16: every pattern there and back, and rounding against distances measured in double.
#include "../core/dtype.h"

#include "check.h"
#include "values.h"

namespace effebm::test {
namespace {

void round_trip() {
  for (uint32_t b = 0; b < 0x10000u; ++b) {
    const float wide = widen(of_bits<bfloat16>(b));
    const uint32_t back = narrow<bfloat16>(wide).bits;
    const bool nan = (b & 0x7FFFu) > 0x7F80u;
    CHECK(std::isnan(wide) == nan, b, wide);
    // a NaN keeps its sign and payload, and is quiet afterwards
    CHECK(back == (nan ? b | 0x0040u : b), b, back);
  }
}

// The value of a positive pattern; the one of infinity as if the exponents went on.
double value(uint32_t upper) { return upper == 0x7F80u ? 0x1p128 : double(from_bits(upper << 16)); }

void rounding() {
  std::mt19937_64 random(1);
  for (uint32_t upper = 0; upper < 0x7F80u; ++upper) {
    const uint32_t any = uint32_t(random() & 0xFFFFu);
    for (uint32_t lower : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu, any}) {
      const float v = from_bits(upper << 16 | lower);
      const double down = double(v) - value(upper), up = value(upper + 1) - double(v);
      const bool rounds_up = up < down || (up == down && (upper & 1u));
      const uint32_t expected = rounds_up ? upper + 1 : upper;
      const uint32_t positive = narrow<bfloat16>(v).bits, negative = narrow<bfloat16>(-v).bits;
      CHECK(positive == expected, v, positive, expected);
      CHECK(negative == (expected | 0x8000u), v, negative, expected);
    }
  }
}

// Also the NaNs whose payload is in the half that is cut off.
void nan_stays_nan() {
  std::mt19937_64 random(2);
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t payload = uint32_t(random() >> (32 + random() % 23)) & 0x007FFFFFu;
    const uint32_t b = 0x7F800000u | (payload ? payload : 1u) | uint32_t(random() & 0x80000000u);
    const bfloat16 narrowed = narrow<bfloat16>(from_bits(b));
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
  round_trip();
  rounding();
  nan_stays_nan();
  other_types_pass();
  return report();
}
