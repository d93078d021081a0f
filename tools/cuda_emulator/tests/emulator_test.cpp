// Checks every feature of the emulator under many schedules, and the faults it must report. With
// the name of a fault as its argument the program commits it, for a sanitizer to report.
#include "../emulator.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../../csrc/tests/check.h"
#include "faulty_kernels.h"
#include "kernels.h"

extern "C" void effebm_emulator_options(uint64_t seed, int fill, int schedule);

namespace effebm::test {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr bool kWatchedForRaces = true;
#else
constexpr bool kWatchedForRaces = false;
#endif
constexpr int kSchedules = 4, kSeeds = 4;

template <class F>
void with_each_schedule(const F& f) {
  for (int schedule = 0; schedule < kSchedules; ++schedule)
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      effebm_emulator_options(seed, seed % 2 ? 0xFF : 0xA5, schedule);
      f();
    }
}

// Returns the error that the launch reports, or nothing.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

void grids() {
  std::vector<unsigned> visits(3 * 2 * 2 * 4 * 3 * 5);
  EFFEBM_LAUNCH(coordinates, dim3(3, 2, 2), dim3(4, 3, 5), nullptr, visits.data());
  for (size_t i = 0; i < visits.size(); ++i) CHECK(visits[i] == 1, i, visits[i]);
}

void barriers() {
  constexpr int kSize = 96, kBlocks = 7;
  std::vector<int> in(kSize * kBlocks), out(in.size(), -1);
  for (size_t i = 0; i < in.size(); ++i) in[i] = int(i);
  EFFEBM_LAUNCH(reverse<kSize>, kBlocks, kSize, nullptr, in.data(), out.data());
  for (int i = 0; i < kSize * kBlocks; ++i)
    CHECK(out[size_t(i)] == i / kSize * kSize + kSize - 1 - i % kSize, i, out[size_t(i)]);

  int count[50], any[50], all[50];
  EFFEBM_LAUNCH(votes, 1, 50, nullptr, count, any, all);
  for (int i = 0; i < 50; ++i)
    CHECK(count[i] == 25 && any[i] && all[i], i, count[i], any[i], all[i]);
}

void shuffled() {
  int out[64 * kShuffles];
  EFFEBM_LAUNCH(shuffles, 1, 64, nullptr, out);
  for (int thread = 0; thread < 64; ++thread) {
    const int lane = thread % 32, group = lane / 8 * 8, in_group = lane % 8;
    const int expected[kShuffles] = {5,
                                     lane ^ 3,
                                     lane < 4 ? lane : lane - 4,
                                     lane > 27 ? lane : lane + 4,
                                     group + 1,
                                     in_group < 3 ? lane : lane - 3,
                                     in_group > 4 ? lane : lane + 3,
                                     lane ^ 16};
    for (int k = 0; k < kShuffles; ++k)
      CHECK(out[thread * kShuffles + k] == expected[k], thread, k, out[thread * kShuffles + k]);
  }
}

// The second warp of 40 threads has eight lanes.
void voted() {
  unsigned out[40 * kVotes];
  EFFEBM_LAUNCH(warp_votes, 1, 40, nullptr, out);
  for (int thread = 0; thread < 40; ++thread) {
    const bool whole = thread < 32;
    const unsigned lane = unsigned(thread) % 32, present = whole ? kAllLanes : 0xFFu;
    const unsigned expected[kVotes] = {0x49249249u & present,
                                       1,
                                       0,
                                       (0x11111111u << lane % 4) & present,
                                       whole ? 496u : 28u,
                                       whole ? 31u : 7u,
                                       1,
                                       !whole      ? 8u
                                       : lane < 16 ? 16u
                                       : lane < 20 ? 4u
                                                   : 12u};
    for (int k = 0; k < kVotes; ++k)
      CHECK(out[thread * kVotes + k] == expected[k], thread, k, out[thread * kVotes + k]);
  }
  int exchanged[64];
  EFFEBM_LAUNCH(warp_exchange, 1, 64, nullptr, exchanged);
  for (int i = 0; i < 64; ++i) CHECK(exchanged[i] == (i ^ 1), i, exchanged[i]);
}

void atomically() {
  unsigned words[8] = {0, 0, 1000, 0, ~0u, 0, 0, 0};
  int ints[3] = {0, 0, -1000};
  unsigned long long longs[2] = {};
  float floats[1] = {};
  EFFEBM_LAUNCH(atomics, 5, 64, nullptr, words, ints, longs, floats);
  const unsigned expected[8] = {320, 319, 3, ~0u, 0, 0, 0, 640};
  for (int i = 0; i < 8; ++i) CHECK(words[i] == expected[i], i, words[i]);
  CHECK(ints[0] == -320 && ints[1] == -640 && ints[2] == 0, ints[0], ints[1], ints[2]);
  CHECK(longs[0] == 320ull << 32 && longs[1] == 77, longs[0], longs[1]);
  CHECK(floats[0] == 160.0f, floats[0]);

  std::vector<unsigned> partial(40);
  unsigned tickets = 0, sum = 0;
  EFFEBM_LAUNCH(last_block, 40, 32, nullptr, partial.data(), &tickets, &sum);
  CHECK(sum == 820, sum);
}

void shared_beyond_blocks() {
  int rotated[64];
  emulator::launch(1, 64, sizeof rotated, 1, false, [&] { dynamic_rotate(rotated); });
  for (int i = 0; i < 64; ++i) CHECK(rotated[i] == (i + 1) % 64, i, rotated[i]);

  unsigned sums[8];
  emulator::launch(8, 64, 0, 4, false, [&] { cluster_sum(sums, true); });
  for (unsigned b = 0; b < 8; ++b) CHECK(sums[b] == (b < 4 ? 6u : 22u), b, sums[b]);
  // A cluster's barrier is still the cluster's in a cooperative grid.
  emulator::launch(8, 32, 0, 2, true, [&] { cluster_sum(sums, true); });
  for (unsigned b = 0; b < 8; ++b) CHECK(sums[b] == b / 2 * 4 + 1, b, sums[b]);

  std::vector<unsigned> value(5 * 32, 1), next(value.size());
  emulator::launch(5, 32, 0, 1, true, [&] { grid_rounds(value.data(), next.data(), 3); });
  for (unsigned v : value) CHECK(v == 8, v);

  unsigned flag = 0, seen = 0;
  emulator::launch(6, 32, 0, 1, true, [&] { poll(&flag, &seen); });
  CHECK(seen == 1, seen);
}

void shared_starts_as_garbage() {
  for (int fill : {0x00, 0xA5, 0xFF}) {
    effebm_emulator_options(0, fill, 1);
    unsigned char found[4];
    EFFEBM_LAUNCH(garbage, 1, 32, nullptr, found);
    for (unsigned char byte : found) CHECK(byte == fill, int(byte), fill);
  }
}

void single_thread_functions() {
  CHECK(__popc(0xF0F0u) == 8);
  CHECK(__clz(0) == 32 && __clz(1) == 31 && __clz(-1) == 0);
  CHECK(__ffs(0) == 0 && __ffs(8) == 4);
  CHECK(__umulhi(0xFFFFFFFFu, 0xFFFFFFFFu) == 0xFFFFFFFEu);
  CHECK(__float_as_uint(1.0f) == 0x3F800000u && __uint_as_float(0xC0000000u) == -2.0f);
  CHECK(__fmaf_rn(1 + 0x1p-12f, 1 + 0x1p-12f, -1.0f) == 0x1p-11f + 0x1p-24f);
  CHECK(__fsqrt_rn(2.0f) == 1.41421356f);
  CHECK(min(3, -3) == -3 && max(3u, 4u) == 4u && min(std::nanf(""), 2.0f) == 2.0f);
  float4 quad = make_float4(1, 2, 3, 4);
  __stcs(&quad, make_float4(5, 6, 7, 8));
  CHECK(__ldg(&quad).x == 5 && __ldcs(&quad).w == 8, quad.x, quad.w);
  CHECK(sizeof(uint3) == 12 && alignof(float2) == 8 && alignof(float4) == 16);
  CHECK(alignof(double2) == 16 && alignof(ulonglong2) == 16 && alignof(int2) == 8);
}

void broken_rules_are_reported() {
  int out[64] = {};
  alignas(16) float floats[8] = {};
  const auto expect = [](const char* part, const std::string& error) {
    CHECK(contains(error, part), part, error);
  };
  const auto report = [&](auto kernel, auto... arguments) {
    return error_of([&] { EFFEBM_LAUNCH(kernel, 2, 64, nullptr, arguments...); });
  };
  expect("divergent barrier", report(barrier_in_branch));
  expect("divergent barrier", report(exit_before_barrier));
  expect("exited", report(exit_before_shuffle, out));
  expect("not in its own mask", report(outside_of_own_mask));
  expect("deadlock", report(crossed_masks));
  expect("different functions", report(different_functions, out));
  expect("deadlock", report(warp_against_barrier));
  expect("not cooperative", report(grid_sync));
  expect("misaligned", report(misaligned_ldg, floats, floats + 7));
  expect("48 KiB", report(too_much_shared));
  expect("the kernel threw", report(throws));
  expect("dynamic shared memory", report(dynamic_rotate, out));
  expect("the block's size", error_of([] { EFFEBM_LAUNCH(grid_sync, 1, 1025, nullptr); }));
  expect("the grid's size", error_of([] { EFFEBM_LAUNCH(grid_sync, 0, 32, nullptr); }));
  expect("the cluster's size", error_of([] { emulator::launch(3, 32, 0, 2, false, [] {}); }));
  expect("too many", error_of([] { emulator::launch(100, 1024, 0, 1, true, [] {}); }));
  grids();  // launches still work
}

void polling_in_vain_is_reported() {
  unsigned flag = 0;
  const std::string error = error_of([&] { EFFEBM_LAUNCH(poll_forever, 1, 64, nullptr, &flag); });
  CHECK(contains(error, "no progress"), error);
}

// A missing barrier shows under some schedule, also without a sanitizer.
void missing_barriers_show() {
  int in[64], unsynchronized_block = 0, unsynchronized_warp = 0;
  for (int i = 0; i < 64; ++i) in[i] = i;
  with_each_schedule([&] {
    int out[64];
    EFFEBM_LAUNCH(reverse_unsynchronized<64>, 1, 64, nullptr, in, out);
    for (int i = 0; i < 64; ++i) unsynchronized_block += out[i] != 63 - i;
    EFFEBM_LAUNCH(exchange_unsynchronized, 1, 64, nullptr, out);
    for (int i = 0; i < 64; ++i) unsynchronized_warp += out[i] != (i ^ 1);
  });
  CHECK(unsynchronized_block > 0);
  CHECK(unsynchronized_warp > 0);
}

void host_threads_launch_at_once() {
  effebm_emulator_options(5, 0xA5, 1);
  int wrong[2] = {};
  const auto work = [](int* failures) {
    for (int round = 0; round < 5; ++round) {
      int exchanged[64];
      EFFEBM_LAUNCH(warp_exchange, 1, 64, nullptr, exchanged);
      for (int i = 0; i < 64; ++i) *failures += exchanged[i] != (i ^ 1);
      *failures += error_of([] { EFFEBM_LAUNCH(barrier_in_branch, 1, 64, nullptr); }).empty();
    }
  };
  std::thread first(work, &wrong[0]), second(work, &wrong[1]);
  first.join();
  second.join();
  CHECK(wrong[0] + wrong[1] == 0, wrong[0], wrong[1]);
}

// A schedule is a function of the seed.
void schedules_repeat() {
  const auto order = [](uint64_t seed) {
    effebm_emulator_options(seed, 0, 1);
    unsigned next = 0;
    std::vector<unsigned> places(256);
    emulator::launch(4, 64, 0, 1, false,
                     [&] { places[blockIdx.x * 64 + threadIdx.x] = atomicAdd(&next, 1u); });
    return places;
  };
  CHECK(order(1) == order(1));
  CHECK(order(1) != order(2));
}

int commit(const std::string& fault) {
  int in[64] = {}, out[64];
  alignas(16) float floats[8] = {};
  unsigned sums[4];
  if (fault == "shared_overflow") EFFEBM_LAUNCH(shared_overflow, 1, 64, nullptr, out);
  if (fault == "misaligned_vector")
    EFFEBM_LAUNCH(misaligned_vector, 1, 1, nullptr, floats, floats + 7);
  if (fault == "underaligned_shared") EFFEBM_LAUNCH(underaligned_shared, 1, 64, nullptr, floats);
  if (fault == "missing_barrier")
    EFFEBM_LAUNCH(reverse_unsynchronized<64>, 1, 64, nullptr, in, out);
  if (fault == "missing_syncwarp") EFFEBM_LAUNCH(exchange_unsynchronized, 1, 64, nullptr, out);
  if (fault == "blocks_race") EFFEBM_LAUNCH(blocks_race, 8, 32, nullptr, out);
  if (fault == "cluster_exit")
    emulator::launch(4, 64, 0, 4, false, [&] { cluster_sum(sums, false); });
  return 0;
}

}  // namespace
}  // namespace effebm::test

int main(int count, char** arguments) {
  using namespace effebm::test;
  if (count > 1) return commit(arguments[1]);
  with_each_schedule([] {
    grids();
    barriers();
    shuffled();
    voted();
    atomically();
    shared_beyond_blocks();
    broken_rules_are_reported();
  });
  shared_starts_as_garbage();
  single_thread_functions();
  polling_in_vain_is_reported();
  if (!kWatchedForRaces) missing_barriers_show();
  schedules_repeat();
  host_threads_launch_at_once();
  return report();
}
