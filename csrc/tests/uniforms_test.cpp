// Checks the uniform numbers of every instruction set's kernel, and of the emulated CUDA kernel,
// against their definition, however the chains are split.
#include "../core/uniforms.h"

#include <vector>

#include "check.h"
#include "tables.h"
#include "threads.h"

namespace effebm::test {
namespace {

constexpr int64_t kKey[2] = {-0x123456789ABCDEF, (int64_t(1) << 40) + 5};

UniformsParams params_of(int64_t n, double* out, int32_t purpose) {
  return {n, 1, out, kKey, 3, (int64_t(1) << 32) - n, purpose};
}

double expected(const UniformsParams& p, int64_t row) {
  const uint64_t offset = uint64_t(kKey[1] + p.offset);
  const uint32_t c3 = uint32_t(offset >> 32) | uint32_t(p.purpose) << 24;
  const core::Words words =
      core::philox4x32_10({{0, uint32_t(p.first_chain + row), uint32_t(offset), c3}},
                          uint32_t(kKey[0]), uint32_t(uint64_t(kKey[0]) >> 32));
  const double high = words.w[0] >> 6, low = words.w[1] >> 6;
  return high / 0x1p26 + low / 0x1p52 + 0x1p-53;
}

void all_sizes() {
  for (int64_t n : {1, 2, 255, 256, 257, 20'000})
    for (int32_t purpose : {2, 3, 255})
      for (const auto* table : all_tables())
        for (const auto* threads : kAllThreads) {
          std::vector<double> out(size_t(n + 1), 7);
          const UniformsParams p = params_of(n, out.data(), purpose);
          table->uniforms(p, *threads);
          int64_t wrong = 0;
          for (int64_t r = 0; r < n; ++r) wrong += out[size_t(r)] != expected(p, r);
          CHECK(wrong == 0 && out.back() == 7, table->name, n, purpose, wrong);
        }
}

}  // namespace
}  // namespace effebm::test

int main() {
  effebm::test::all_sizes();
  return effebm::test::report();
}
