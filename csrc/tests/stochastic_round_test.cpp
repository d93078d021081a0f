// Checks stochastic rounding by every instruction set's kernel, and by the emulated CUDA kernel,
// against the plain transcription, however the rows are split.
#include "../core/stochastic_round.h"

#include <vector>

#include "check.h"
#include "reference.h"
#include "tables.h"
#include "threads.h"

namespace effebm::test {
namespace {

constexpr int64_t kKey[2] = {0x123456789ABCDEF, 7};
constexpr float kLower = -1.5f, kUpper = 2.0f;

template <class T>
T expected(float v, uint32_t word) {
  return reference_rounded<T>(v, word);
}
template <>
core::code expected<core::code>(float v, uint32_t word) {
  if (std::isnan(v)) return {0};
  const float at = std::fmin(std::fmax((v - kLower) * (255.0f / (kUpper - kLower)), 0.0f), 255.0f);
  const double sum = double(at) + std::ldexp(double(word >> 16), -16);
  return {uint8_t(std::fmin(std::floor(sum), 255.0))};
}

template <>
core::float8 expected<core::float8>(float v, uint32_t word) {
  const uint8_t sign = std::signbit(v) ? 0x80 : 0;
  if (std::isnan(v)) return {0x7E};
  if (std::fabs(v) >= 0x1p16f) return {uint8_t(sign | 0x7C)};
  // An e5m2 has the exponents of a float16 and two bits of mantissa.
  const int exponent = v == 0 ? -14 : std::max(std::ilogb(v), -14);
  const double scaled = std::ldexp(std::fabs(double(v)), 2 - exponent), below = std::floor(scaled);
  const bool up = scaled - below + std::ldexp(double(word >> 16), -16) >= 1;
  const core::float16 half =
      core::narrow<core::float16>(float(std::ldexp(below + up, exponent - 2)));
  return {uint8_t(sign | half.bits >> 8)};
}

uint32_t bits(core::code c) { return c.value; }
uint32_t bits(core::float8 v) { return (v.bits & 0x7F) > 0x7C ? 0x100u : v.bits; }
template <class T>
uint32_t bits(T v) {
  return std::isnan(widen(v)) ? 0x10000u : v.bits;  // a NaN equals a NaN
}

// Numbers of all magnitudes, among them zeros, denormals, infinities, NaN, and the ends of ranges.
std::vector<float> values(int64_t n) {
  std::vector<float> v(size_t(n), 0.0f);
  uint32_t state = 1;
  for (size_t i = 0; i < v.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    const uint32_t random = state >> 8 | state << 24;
    v[i] = i % 3 == 0   ? core::from_bits(random)
           : i % 3 == 1 ? std::ldexp(float(random) * 0x1p-32f, int(i % 20) - 18)
                        : float(random) * 0x1p-30f - 1.75f;
  }
  const float special[] = {0.0f,     -0.0f,    HUGE_VALF, -HUGE_VALF, NAN,      0x1p-149f,
                           0x1p-14f, 0x1p-24f, 65504.0f,  65519.9f,   65536.0f, 0x1.fffffep127f,
                           -1.5f,    2.0f,     -1.6f,     2.1f,       0x1p-25f, 0x1.ff8p-15f};
  for (size_t i = 0; i < std::size(special) && i < v.size(); ++i) v[v.size() - 1 - i] = special[i];
  return v;
}

template <class T>
void all_sizes(Rounded to) {
  constexpr int64_t kRows = 3;
  for (int64_t dim : {1, 3, 8, 17, 64, 1024, 1025, 40'000}) {
    const std::vector<float> x = values(kRows * dim + 1);
    for (bool odd : {false, true})  // where vectors may not begin
      for (const auto* table : all_tables())
        for (const auto* threads : kAllThreads) {
          std::vector<T> out(size_t(kRows * dim + 1), T{});
          const StochasticRoundParams p{to,
                                        kRows,
                                        dim,
                                        x.data() + odd,
                                        out.data(),
                                        kKey,
                                        3,
                                        (int64_t(1) << 32) - kRows,
                                        5,
                                        kLower,
                                        255.0f / (kUpper - kLower)};
          table->stochastic_round(p, *threads);
          int64_t wrong = bits(out.back()) != bits(T{});
          for (int64_t r = 0; r < kRows; ++r) {
            const std::vector<uint32_t> words =
                reference_words(make_stream(uint64_t(kKey[0]), 10, Purpose::rounding),
                                uint32_t(p.first_chain + r), dim);
            for (int64_t i = 0; i < dim; ++i) {
              const size_t at = size_t(r * dim + i);
              wrong += bits(out[at]) != bits(expected<T>(p.x[at], words[size_t(i)]));
            }
          }
          CHECK(wrong == 0, table->name, dim, odd, wrong);
        }
  }
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm;
  test::all_sizes<core::bfloat16>(Rounded::bfloat16);
  test::all_sizes<core::float16>(Rounded::float16);
  test::all_sizes<core::float8>(Rounded::float8);
  test::all_sizes<core::code>(Rounded::code);
  return test::report();
}
