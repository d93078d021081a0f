// What the scheduler offers to the intrinsics and to those who launch kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <tuple>
#include <utility>

#include "vector_types.h"

namespace effebm::emulator {

// In which order threads run between two synchronizations; README.md says more.
enum class Schedule { in_order, random, starve_warp, starve_block };

struct Options {
  uint64_t seed = 0;
  int fill = 0xA5;  // the byte that shared memory starts with
  Schedule schedule = Schedule::random;
};
// Of the whole process. The environment gives the defaults.
Options& options();

constexpr size_t kMostShared = 227 << 10;  // of a block, in bytes, as of compute capability 9.0

// What kernels are told about the device, of the whole process. Its multiprocessors take a block of
// 512 threads each; under ThreadSanitizer there are fewer.
struct DeviceProperties {
#ifdef EFFEBM_EMULATOR_TSAN
  int multiprocessors = 8;
#else
  int multiprocessors = 16;
#endif
  size_t shared_per_block = kMostShared;
};
DeviceProperties& device_properties();

// Runs `body` once per thread and returns when all are done. Throws std::runtime_error when the
// kernel breaks a rule. A cluster is `cluster_size` blocks that are neighbours in x.
void launch(dim3 grid, dim3 block, size_t dynamic_shared_bytes, unsigned cluster_size,
            bool cooperative, const std::function<void()>& body);

// As <<<grid, block, bytes>>>, or as cudaLaunchKernelEx: the arguments are evaluated and converted
// once, every thread gets copies.
template <class... Parameters, class... Arguments>
void launch_kernel(dim3 grid, dim3 block, size_t bytes, unsigned cluster_size, bool cooperative,
                   void (*kernel)(Parameters...), Arguments&&... arguments) {
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  launch(grid, block, bytes, cluster_size, cooperative, [&] { std::apply(kernel, values); });
}

// For tests of who is launched how.
struct LaunchShape {
  unsigned blocks, threads;
  size_t dynamic_shared_bytes;
  unsigned cluster_size;
  bool cooperative;
};

struct Coordinates {
  uint3 thread_index, block_index;
  dim3 block_dim, grid_dim;
  unsigned cluster_size;
};
// The running CUDA thread. Null outside of kernels.
extern thread_local constinit const Coordinates* current;

// Where a thread synchronizes, for reports.
struct Site {
  const char* what = "";
  std::source_location location = {};
};

// Ends the launch: it throws std::runtime_error with this message.
[[noreturn]] void fail(const std::string& message);

// Returns how many threads passed a true predicate.
int block_barrier(bool predicate, const Site& site);
void cluster_barrier(const Site& site);
void grid_barrier(const Site& site);

// What the lanes of `mask` brought to a warp's meeting.
struct Lanes {
  uint64_t value[32];
  uint32_t present;
};
// `orders_memory` tells TSan whether the lanes' earlier accesses happen before their later ones.
Lanes collective(uint32_t mask, uint64_t value, bool orders_memory, const Site& site);
unsigned lane_id();

// The block's array of that tag, filled with garbage at its first use. CUDA promises `alignment`
// and no more, so the address has no more.
void* shared_array(const void* tag, size_t bytes, size_t alignment);
void* dynamic_shared_array();
void* map_shared_rank(const void* address, unsigned rank);

void memory_fence();
// Other threads may run here. Without it a thread that polls with atomics would never end.
void preemption_point();

inline void check_alignment(const void* address, size_t alignment) {
  if (reinterpret_cast<uintptr_t>(address) % alignment) fail("misaligned memory access");
}

}  // namespace effebm::emulator
