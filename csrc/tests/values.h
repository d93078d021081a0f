// The storage types under one set of names, and rows of values that are hard to get right.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "../core/dtype.h"

namespace effebm::test {

using namespace core;

template <class T>
struct Storage;
template <>
struct Storage<float> {
  using Bits = uint32_t;
  static constexpr DType dtype = DType::float32;
  static constexpr Bits infinity = 0x7F800000u;
};
template <>
struct Storage<double> {
  using Bits = uint64_t;
  static constexpr DType dtype = DType::float64;
  static constexpr Bits infinity = 0x7FF0000000000000u;
};
template <>
struct Storage<bfloat16> {
  using Bits = uint16_t;
  static constexpr DType dtype = DType::bfloat16;
  static constexpr Bits infinity = 0x7F80u;
};
template <>
struct Storage<float16> {
  using Bits = uint16_t;
  static constexpr DType dtype = DType::float16;
  static constexpr Bits infinity = 0x7C00u;
};
template <class T>
using Bits = typename Storage<T>::Bits;

template <class T>
Bits<T> bits_of(T v) {
  Bits<T> b;
  memcpy(&b, &v, sizeof b);
  return b;
}

template <class T>
T of_bits(uint64_t bits) {
  const Bits<T> b = Bits<T>(bits);
  T v;
  memcpy(&v, &b, sizeof v);
  return v;
}

template <class T>
T of(double v) {
  return narrow<T>(Compute<T>(v));
}

template <class T>
bool is_denormal(T v) {
  const uint64_t infinity = Storage<T>::infinity, least_normal = infinity & -infinity;
  const uint64_t magnitude = bits_of(v) & (infinity | (least_normal - 1));
  return magnitude > 0 && magnitude < least_normal;
}

// Tells whether two values have equal bits or are both NaN: which NaN an operation returns is the
// one thing that instruction sets may choose.
template <class T>
bool same(T a, T b) {
  return std::isnan(widen(a)) ? std::isnan(widen(b)) : bits_of(a) == bits_of(b);
}

// Returns the first index where two vectors differ, or -1.
template <class T>
int64_t first_difference(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return int64_t(std::min(a.size(), b.size()));
  for (size_t i = 0; i < a.size(); ++i)
    if (!same(a[i], b[i])) return int64_t(i);
  return -1;
}

// Calls f with a zero of every dtype, or of the one that EFFEBM_TEST_DTYPE names.
template <class F>
void for_each_dtype(const F& f) {
  const char* only = std::getenv("EFFEBM_TEST_DTYPE");
  bool known = false;
  const auto run = [&](const char* name, auto zero) {
    if (only && std::strcmp(only, name) != 0) return;
    known = true;
    f(zero);
  };
  run("float32", float());
  run("float64", double());
  run("bfloat16", bfloat16());
  run("float16", float16());
  if (!known) throw std::invalid_argument("EFFEBM_TEST_DTYPE names no dtype");
}

// The standard's distributions differ between libraries, its engines do not.
inline double uniform(std::mt19937_64& random) { return double(random() >> 11) * 0x1p-53; }

enum class Pattern {
  all_equal,
  two_values,
  rising,
  falling,
  signs,
  denormal,
  special,
  bits,
  plain
};
constexpr Pattern kPatterns[] = {Pattern::all_equal, Pattern::two_values, Pattern::rising,
                                 Pattern::falling,   Pattern::signs,      Pattern::denormal,
                                 Pattern::special,   Pattern::bits,       Pattern::plain};

// Returns element i of a row of the given pattern.
template <class T>
T pattern_value(Pattern pattern, int64_t i, std::mt19937_64& random) {
  constexpr uint64_t kInfinity = Storage<T>::infinity;
  constexpr uint64_t kMantissa = (kInfinity & -kInfinity) - 1;
  constexpr uint64_t kSign = uint64_t(1) << (8 * sizeof(T) - 1);
  const uint64_t word = random();
  switch (pattern) {
    case Pattern::all_equal:
      return of<T>(-1.5);
    case Pattern::two_values:
      return of<T>(word & 1 ? 1.0 : -2.0);
    case Pattern::rising:
      return of<T>(double(i));
    case Pattern::falling:
      return of<T>(double(i) - 4096.0);
    case Pattern::signs:  // zeros and ties of either sign
      return of<T>((word & 1 ? 1.0 : -1.0) * double(word >> 1 & 1));
    case Pattern::denormal:
      return of_bits<T>((word & kMantissa) | (word & kSign));
    case Pattern::special: {
      const uint64_t special[] = {
          kInfinity, kInfinity | kSign, kInfinity + 1,          (kInfinity + 2) | kSign,
          kSign,     kSign - 1,         bits_of<T>(of<T>(1.0)), 0};
      return of_bits<T>(special[word >> 32 & 7]);
    }
    case Pattern::bits:
      return of_bits<T>(word);
    case Pattern::plain:
      return of<T>(6.0 * uniform(random) - 3.0);
  }
  return T();
}

}  // namespace effebm::test
