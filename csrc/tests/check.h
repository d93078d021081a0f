// CHECK(condition, values...): a failure prints where, what and the values, and the test goes on.
// With EFFEBM_TEST_FIRST_FAILURE set, the first failure ends the program.
// A test's main ends with `return effebm::test::report();`.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>

namespace effebm::test {

inline int64_t checks = 0, failures = 0;

template <class... Values>
void fail(const char* file, int line, const char* condition, const char* names,
          const Values&... values) {
  constexpr int kShown = 20;  // a broken kernel fails everywhere; a few failures are enough
  if (++failures > kShown) return;
  std::cout << file << ":" << line << ": " << condition << " is false";
  if constexpr (sizeof...(values) > 0) {
    std::cout << "; " << names << " =" << std::setprecision(17);
    ((std::cout << " " << values), ...);
  }
  std::cout << std::endl;
  if (std::getenv("EFFEBM_TEST_FIRST_FAILURE")) std::_Exit(1);
}

inline int report() {
  std::cout << checks << " checks, " << failures << " failed" << std::endl;
  return failures == 0 && checks > 0 ? 0 : 1;
}

}  // namespace effebm::test

#define CHECK(condition, ...)                                                                      \
  do {                                                                                             \
    ++effebm::test::checks;                                                                        \
    if (!(condition))                                                                              \
      effebm::test::fail(__FILE__, __LINE__, #condition, #__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)
