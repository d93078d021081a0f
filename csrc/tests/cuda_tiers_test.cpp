// Checks which CUDA kernel takes which rows, and that each gives the bits of the CPU kernels: at
// real sizes, and on an emulated device so small that short rows are too long for it.
#include "../../tools/cuda_emulator/runtime.h"
#include "compress.h"
#include "step_problem.h"
#include "tables.h"
#include "threads.h"

extern "C" effebm::emulator::DeviceProperties* effebm_emulator_device();
extern "C" const effebm::emulator::LaunchShape* effebm_emulator_last_launch();

namespace effebm::test {
namespace {

constexpr int64_t kMillion = 1'000'000;

const Kernels& emulated() { return *effebm_emulated_kernels(); }
const emulator::LaunchShape& last_launch() { return *effebm_emulator_last_launch(); }

// Asks for clusters in the environment, as long as it lives.
struct WithClusters {
  WithClusters() { setenv("EFFEBM_CUDA_CLUSTERS", "1", 1); }
  ~WithClusters() { unsetenv("EFFEBM_CUDA_CLUSTERS"); }
};

template <class T>
std::vector<T> values(int64_t n) {
  std::mt19937_64 random(7);
  std::vector<T> x;
  for (int64_t i = 0; i < n; ++i)  // a few hundred different values, so that ties are cut
    x.push_back(of<T>(double(int64_t(random() >> 55) - 256) / 64));
  return x;
}

// Checks Top-k of rows of a real size, and returns the shape of its launch.
template <class T>
emulator::LaunchShape topk_of(int64_t rows, int64_t dim, int64_t k) {
  const std::vector<T> x = values<T>(rows * dim);
  std::vector<T> out(x.size(), of<T>(99)), expected(x.size(), of<T>(98));
  CompressParams p = compress_params(Compressor::topk, k, rows, dim, x.data(), out.data());
  emulated().compress(p, kSerial);
  p.out = expected.data();
  cpu::kernels().compress(p, kParallel);
  const int64_t wrong = first_difference(out, expected);
  CHECK(wrong < 0, sizeof(T), rows, dim, k, wrong);
  return last_launch();
}

void topk_at_real_sizes() {
  emulator::LaunchShape shape = topk_of<float>(20, 1024, 100);
  CHECK(shape.blocks == 3 && shape.threads == 256 && !shape.cooperative, shape.blocks);
  shape = topk_of<float>(3, 3072, 300);
  CHECK(shape.blocks == 3 && shape.threads == 256 && shape.dynamic_shared_bytes == 12'288);
  shape = topk_of<float>(1, 55'000, 5500);
  CHECK(shape.blocks == 1 && shape.threads == 512 && shape.dynamic_shared_bytes == 220'000);
  if (kForRaces) return;  // the small device below has the same kernels
  shape = topk_of<float>(2, 440'000, 44'000);
  CHECK(shape.cooperative && shape.blocks == 16 && shape.dynamic_shared_bytes == 221'184,
        shape.blocks, shape.dynamic_shared_bytes);
  {
    const WithClusters wanted;
    shape = topk_of<float>(2, 440'000, 44'000);
    CHECK(shape.cluster_size == 8 && shape.blocks == 16 && !shape.cooperative, shape.cluster_size);
    shape = topk_of<float>(1, 55'000, 5500);
    CHECK(shape.cluster_size == 1 && shape.blocks == 1);
  }
  shape = topk_of<double>(1, 200'000, 20'000);
  CHECK(shape.cooperative && shape.blocks == 16 && shape.dynamic_shared_bytes > 0, shape.blocks);
  if (kSanitized) return;
  shape = topk_of<bfloat16>(1, 10 * kMillion, kMillion);
  CHECK(shape.cooperative && shape.blocks == 16 && shape.dynamic_shared_bytes == 0, shape.blocks);
}

void block_sign_at_real_sizes() {
  for (const auto& [dim, block_size, blocks, bytes] :
       {std::array<int64_t, 4>{100'000, 64, 25, 0},    // lanes of a warp
        {49'152, 3072, 8, 24'576},                     // two blocks of entries at a time
        {50'001, 50'001, 1, 200'016},                  // a whole row
        {150'000, 60'000, 37, 0},                      // too long: windows of rows
        {kForRaces ? 60'000 : kMillion, 30, 0, 0}}) {  // quads across blocks
    const std::vector<float> x = values<float>(dim);
    std::vector<float> out(x.size()), expected(x.size());
    CompressParams p =
        compress_params(Compressor::block_sign, block_size, 1, dim, x.data(), out.data());
    emulated().compress(p, kSerial);
    p.out = expected.data();
    cpu::kernels().compress(p, kParallel);
    const int64_t wrong = first_difference(out, expected);
    CHECK(wrong < 0, dim, block_size, wrong);
    const emulator::LaunchShape& shape = last_launch();
    CHECK(int64_t(shape.dynamic_shared_bytes) == bytes, dim, block_size,
          shape.dynamic_shared_bytes);
    if (blocks) CHECK(shape.blocks == blocks, dim, block_size, shape.blocks);
  }
}

// Checks steps with every option that they have, in turn.
template <class T>
void all_tiers(int64_t dim) {
  Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::denormal, Pattern::special});
  LangevinStepParams& p = problem.params;
  size_t turn = size_t(p.dtype);
  for (Compressor compressor : {Compressor::topk, Compressor::block_sign, Compressor::random_k})
    for (int64_t size : {dim / 10, int64_t(64), int64_t(1500), int64_t(1)})
      for (bool with_residual : {false, true}) {
        if (++turn % (kSanitized || dim > 10'000 ? 5 : 2)) continue;
        p.rows = 2 + int64_t(turn) % 3;
        compress_by(p, compressor, size);
        p.clip = Clip(turn % 3);
        p.bounds = Bounds(turn / 2 % 3);
        p.row_sums_of = sums_in_turn(turn / 2);
        const bool in_place = turn % 4 < 2;
        compare(problem.step(emulated(), with_residual, in_place, kSerial),
                problem.step(cpu::kernels(), with_residual, in_place, kSerial), p, "emulated CUDA",
                "small device");
      }
}

// Checks a device on which two tiles of a row fit into a block and five blocks run at the same
// time.
void on_a_small_device() {
  emulator::DeviceProperties& device = *effebm_emulator_device();
  const emulator::DeviceProperties large = device;
  for_each_dtype([&](auto zero) {
    using T = decltype(zero);
    device = {5, (25 << 10) + 2049 * sizeof(Compute<T>)};
    for (int64_t dim : {2500, 7001, 12'000, 33'000})
      if (dim < 30'000 || !kForRaces) all_tiers<T>(dim);
    const WithClusters wanted;
    all_tiers<T>(7001);
    if (!kForRaces) all_tiers<T>(20'000);  // 16 blocks of 512 threads are more than run at once
  });
  device = large;
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  if (!std::getenv("EFFEBM_TEST_EMULATED_ONLY")) {  // one schedule is enough
    topk_at_real_sizes();
    block_sign_at_real_sizes();
  }
  on_a_small_device();
  return report();
}
