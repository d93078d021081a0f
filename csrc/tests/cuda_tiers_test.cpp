// Checks which CUDA kernels take which rows, and that each gives the bits of the CPU kernels: at
// the lengths where one takes over from another, and on rows that are made to mislead them.
#include "../../tools/cuda_emulator/runtime.h"
#include "../cuda/access.cuh"
#include "../cuda/long_rows.cuh"
#include "compress.h"
#include "step_problem.h"
#include "tables.h"
#include "threads.h"

extern "C" const effebm::emulator::LaunchShape* effebm_emulator_last_launch();

namespace effebm::test {
namespace {

using emulated::cuda_kernels::kHeldQuads;
using emulated::cuda_kernels::kLongTile;
using emulated::cuda_kernels::kMostHeld;

const Kernels& emulated_table() { return *effebm_emulated_kernels(); }
const emulator::LaunchShape& last_launch() { return *effebm_emulator_last_launch(); }

template <class T>
std::vector<T> values(int64_t n) {
  std::mt19937_64 random(7);
  std::vector<T> x;
  for (int64_t i = 0; i < n; ++i)  // a few hundred different values, so that ties are cut
    x.push_back(of<T>(double(int64_t(random() >> 55) - 256) / 64));
  return x;
}

// Checks a compression of x against the CPU, and returns the shape of its last launch.
template <class T>
emulator::LaunchShape compress(Compressor compressor, int64_t size, int64_t rows,
                               const std::vector<T>& x, const char* name) {
  const int64_t dim = int64_t(x.size()) / rows;
  std::vector<T> out(x.size(), of<T>(99)), expected(x.size(), of<T>(98));
  CompressParams p = compress_params(compressor, size, rows, dim, x.data(), out.data());
  p.key = kKey;
  emulated_table().compress(p, kSerial);
  p.out = expected.data();
  cpu::kernels().compress(p, kParallel);
  const int64_t wrong = first_difference(out, expected);
  CHECK(wrong < 0, name, int(compressor), sizeof(T), rows, dim, size, wrong);
  return last_launch();
}

void dividers_are_exact() {
  for (uint32_t divisor : {1u, 2u, 3u, 5u, 7u, 12u, 255u, 256u, 257u, 1027u, 65'537u, 1'000'003u,
                           (1u << 30) + 1, (1u << 31) - 1}) {
    const emulated::cuda_kernels::Divider divider(divisor);
    const uint32_t most = (1u << 31) - 1, last = most / divisor * divisor;
    for (uint32_t n : {0u, divisor - 1, divisor, last - 1, last, most})
      CHECK(divider.quotient(n) == n / divisor, divisor, n);
  }
}

__global__ void find_place(emulated::cuda_kernels::FlatIndex index, int64_t dim,
                           emulated::cuda_kernels::Place* place) {
  if (threadIdx.x == 0) *place = index.place<emulated::cuda_kernels::Access<4, true>>(dim);
}

// Rows with more than 2^31 threads, of which only the first of each grid are run.
void grids_are_parts_of_many_rows() {
  const int64_t rows = 5, dim = int64_t(1) << 31, of_row = dim / 4;
  int64_t before = 0;
  emulated::cuda_kernels::for_flat_parts(rows, dim, 4, 1, [&](const auto& index, unsigned blocks) {
    emulated::cuda_kernels::Place first = {};
    constexpr auto kernel = &find_place;
    EFFEBM_LAUNCH(kernel, 1, 256, nullptr, index, dim, &first);
    CHECK(first.row == before && first.at == before * dim && first.n == 4, first.row, before);
    before += int64_t(blocks) * 256 / of_row;
  });
  CHECK(before == rows, before);
}

// Rows of up to 1024 elements share the warps of a block of 256, longer ones have a block each, and
// the longest end with a flat kernel, which has a thread for a quad.
void topk_at_the_limits_of_its_kernels() {
  const auto topk = [](int64_t rows, int64_t dim) {
    return compress(Compressor::topk, dim / 10 + 1, rows, values<float>(rows * dim), "limits");
  };
  struct Case {
    int64_t rows, dim;
    unsigned blocks, threads;
  };
  for (const Case& c : {Case{600, 5, 5, 256},  // two threads have a row
                        {130, 64, 2, 256},     // two, with eight quads each
                        {20, 512, 2, 256},     // sixteen
                        {9, 1024, 2, 256},     // a warp
                        {3, 1025, 3, 64},      // two warps
                        {3, 3072, 3, 96},      // three
                        {2, kMostHeld<float>, 2, 512},
                        {2, kMostHeld<float> + 1, 33, 256}}) {
    const emulator::LaunchShape shape = topk(c.rows, c.dim);
    CHECK(shape.blocks == c.blocks && shape.threads == c.threads, c.dim, shape.blocks,
          shape.threads);
  }
  const emulator::LaunchShape shape =
      compress(Compressor::topk, 800, 1, values<double>(kMostHeld<double>), "limits");
  CHECK(shape.blocks == 1 && shape.threads == 256);
  for (int64_t dim : {kMostHeld<float>, kMostHeld<float> + 1})
    compress(Compressor::random_k, 1000, 2, values<float>(2 * dim), "limits");
}

void block_sign_at_the_limits_of_its_kernels() {
  struct Case {
    int64_t dim, size;
    unsigned blocks, threads;
  };
  for (const Case& c : {Case{4096, 128, 4, 256},  // in lanes
                        {4096, 132, 2, 256},      // 16 threads have a block of entries
                        {4096, 1024, 1, 256},     // 64
                        {6144, 1028, 6, 128},     // two groups of 1024 positions
                        {16'384, 16'384, 1, 1024},
                        {16'388, 16'388, 17, 256},  // windows, and a flat kernel
                        {4095, 4095, 1, 256},       // a row that is no multiple of a quad
                        {4095, 30, 4, 256}}) {      // quads across blocks
    const emulator::LaunchShape shape =
        compress(Compressor::block_sign, c.size, 1, values<float>(c.dim), "limits");
    CHECK(shape.blocks == c.blocks && shape.threads == c.threads, c.dim, c.size, shape.blocks,
          shape.threads);
  }
}

// A row of distinct magnitudes between `least` and `most`.
std::vector<float> spread(int64_t dim, double least, double most, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> x;
  for (int64_t i = 0; i < dim; ++i)
    x.push_back(float((least + (most - least) * double(random() >> 11) * 0x1p-53) *
                      (random() % 2 ? 1 : -1)));
  return x;
}

// Replaces the elements that the first sample of row 0 sees.
void replace_sampled(std::vector<float>& x, const std::vector<float>& by) {
  using namespace emulated::cuda_kernels;
  const auto quads = uint32_t((x.size() + kQuad - 1) / kQuad);
  const uint32_t most = std::min(uint32_t(kFewSamplers * kHeldQuads), quads / kSampleShare);
  for (uint32_t number = 0; number < most; ++number) {
    const uint32_t word = scramble(number + scramble(0 + scramble(0)));
    const size_t begin = size_t(uint64_t(word) * quads >> 32) * kQuad;
    for (size_t i = begin; i < std::min(begin + kQuad, x.size()); ++i) x[i] = by[i];
  }
}

// Rows of which exactly the NaN are kept, and no tie is cut.
void rows_with_as_many_nan_as_are_kept() {
  for (int64_t dim : {int64_t(100), kMostHeld<float> + 100}) {
    std::vector<float> x = values<float>(dim);
    for (int64_t i = 0; i < 10; ++i) x[size_t(7 * i)] = NAN;
    x[1] = INFINITY;  // so that only NaN is large enough
    compress(Compressor::topk, 10, 1, x, "as many NaN");
  }
}

// Rows that keep infinite values beside NaN: the threshold is infinity, and NaN counts as larger.
void rows_with_infinite_values_beside_nan() {
  for (int64_t dim : {int64_t(100), kMostHeld<float> + 100}) {
    std::vector<float> x = values<float>(dim);
    for (int64_t i = 0; i < 3; ++i) x[size_t(7 * i)] = NAN;
    for (int64_t i = 0; i < 5; ++i) x[size_t(9 * i + 2)] = i % 2 ? INFINITY : -INFINITY;
    for (int64_t k = 3; k < 9; ++k)
      if (!kForRaces || k == 6) compress(Compressor::topk, k, 1, x, "infinite and NaN");
  }
}

__global__ void count_held(const float* values, uint32_t least, uint32_t* count) {
  using namespace emulated::cuda_kernels;
  RowGroup group(int(blockDim.x));
  float u[kHeldQuads][kQuad] = {};
  for (int i = 0; i < kHeldQuads * kQuad; ++i) u[i / kQuad][i % kQuad] = values[i];
  *count = HeldValues<float>{u, group}.count_from(least);
}

// Asks for every kind of key, also for those that a search asks for rarely or never.
void counts_of_held_values() {
  using namespace emulated::cuda_kernels;
  std::vector<float> x = values<float>(kHeldQuads * kQuad);
  x[0] = x[5] = NAN;
  x[1] = INFINITY;
  x[2] = x[6] = -INFINITY;
  x[3] = std::numeric_limits<float>::max();
  x[4] = -0.0f;
  const Key<float> infinity = KeyOf<float>::infinity;
  for (Key<float> least : {Key<float>(0), Key<float>(1), order_key(x[8]), order_key(x[8]) + 1,
                           infinity - 1, infinity, infinity + 1}) {
    uint32_t count = 0, expected = 0;
    for (float v : x) expected += order_key(v) >= least;
    constexpr auto kernel = &count_held;
    EFFEBM_LAUNCH(kernel, 1, 1, nullptr, x.data(), least, &count);
    CHECK(count == expected, least, count, expected);
  }
}

// Long rows, also those whose sample says nothing about the rest: the bracket misses the threshold
// to either side, or holds nearly the whole row, more than the list has room for.
void long_rows_that_mislead() {
  const int64_t dim = 20'003;
  const std::vector<float> narrow = spread(dim, 1, 1.001, 3);
  std::vector<float> sample_above = narrow, sample_below = narrow, sample_around = narrow;
  replace_sampled(sample_above, spread(dim, 10, 20, 4));
  replace_sampled(sample_below, spread(dim, .1, .2, 5));
  replace_sampled(sample_around, spread(dim, 0, 2, 6));
  std::vector<float> two_values, sorted, special, zeros(size_t(dim), -0.0f);
  for (int64_t i = 0; i < dim; ++i) {
    two_values.push_back(i % 3 ? 1.0f : -2.0f);
    sorted.push_back(float(i));
    special.push_back(i % 7 == 0 ? NAN : i % 7 == 1 ? -INFINITY : narrow[size_t(i)]);
  }
  for (int64_t i = 0; i < dim; i += 50) zeros[size_t(i)] = narrow[size_t(i)];
  const std::pair<const char*, std::vector<float>> rows[] = {
      {"narrow", narrow},
      {"sample above", sample_above},
      {"sample below", sample_below},
      {"sample around", sample_around},
      {"two values", two_values},
      {"equal", std::vector<float>(size_t(dim), -1.5f)},
      {"sorted", sorted},
      {"NaN and infinite", special},
      {"all NaN", std::vector<float>(size_t(dim), NAN)},
      {"mostly zeros", zeros},
      {"heavy ties", values<float>(dim)},
  };
  for (const auto& [name, x] : rows)
    for (int64_t k : {int64_t(1), dim / 100, dim / 10, dim / 2, dim - 1})
      if (!kForRaces || k == dim / 10) compress(Compressor::topk, k, 1, x, name);
}

// Long rows whose k-th largest equals an end of the first bracket, or is the next to it.
void long_rows_at_the_ends_of_their_bracket() {
  const int64_t dim = 20'003;
  const auto row_of = [](float v) { return std::vector<float>(size_t(dim), v); };
  std::vector<float> below = row_of(1), above = row_of(10), three;
  replace_sampled(below, row_of(5));  // the bracket is 5 alone
  replace_sampled(above, row_of(5));
  std::fill_n(above.begin(), kLongTile, 10.0f);  // a whole tile is above
  const int64_t fives = std::count(below.begin(), below.end(), 5.0f);
  const int64_t tens = std::count(above.begin(), above.end(), 10.0f);
  const float next = std::nextafter(1.0f, 2.0f);
  for (int64_t i = 0; i < dim; ++i)  // the bracket is from 1 to 3, and one value in it
    three.push_back(i % 5 == 0 ? 3.0f : i % 40 == 1 ? next : 1.0f);
  const int64_t threes = std::count(three.begin(), three.end(), 3.0f);
  const int64_t inside = std::count(three.begin(), three.end(), next);
  for (int64_t other : {-1, 0, 1}) {
    compress(Compressor::topk, fives + other, 1, below, "the others are below");
    compress(Compressor::topk, tens + other, 1, above, "the others are above");
    compress(Compressor::topk, threes + other, 1, three, "three values");
    compress(Compressor::topk, threes + inside + other, 1, three, "three values");
    compress(Compressor::topk, kLongTile + other, 1, row_of(5), "the last tie ends a tile");
  }
}

// Checks steps with every option that they have, in turn, in rows too long for registers.
template <class T>
void steps_of_long_rows(int64_t dim) {
  Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::denormal, Pattern::special});
  LangevinStepParams& p = problem.params;
  size_t turn = size_t(p.dtype);
  for (Compressor compressor : {Compressor::topk, Compressor::block_sign, Compressor::random_k})
    for (int64_t size : {dim / 10, int64_t(64), int64_t(1500), dim})
      for (bool with_residual : {false, true}) {
        if (++turn % (kSanitized ? 5 : 2)) continue;
        p.rows = 2 + int64_t(turn) % 3;
        compress_by(p, compressor, size);
        p.clip = Clip(turn % 3);
        p.bounds = Bounds(turn / 2 % 3);
        p.row_sums_of = sums_in_turn(turn / 2);
        const bool in_place = turn % 4 < 2;
        compare(problem.step(emulated_table(), with_residual, in_place, kSerial),
                problem.step(cpu::kernels(), with_residual, in_place, kSerial), p, "emulated CUDA",
                "long rows");
      }
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  if (!std::getenv("EFFEBM_TEST_EMULATED_ONLY")) {  // one schedule is enough
    dividers_are_exact();
    grids_are_parts_of_many_rows();
    topk_at_the_limits_of_its_kernels();
    block_sign_at_the_limits_of_its_kernels();
  }
  rows_with_as_many_nan_as_are_kept();
  rows_with_infinite_values_beside_nan();
  counts_of_held_values();
  long_rows_that_mislead();
  long_rows_at_the_ends_of_their_bracket();
  for_each_dtype([](auto zero) {
    using T = decltype(zero);
    steps_of_long_rows<T>(kMostHeld<effebm::core::Compute<T>> + 5);
    if (!kForRaces) steps_of_long_rows<T>(kMostHeld<effebm::core::Compute<T>> + 4096);
  });
  return report();
}
