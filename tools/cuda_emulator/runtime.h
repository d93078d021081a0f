// The interface of the scheduler, for the intrinsics and for those who launch kernels.
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

// The order in which threads run between two synchronizations; README.md describes it.
enum class Schedule { in_order, random, starve_warp, starve_block };

struct Options {
  uint64_t seed = 0;
  int fill = 0xA5;  // the byte that shared memory starts with
  Schedule schedule = Schedule::random;
};
// Returns the options of the whole process. The environment gives the defaults.
Options& options();

constexpr size_t kMostShared = 227 << 10;  // bytes of a block, as on compute capability 9.0

// The device that all kernels of the process see. Its multiprocessors take a block of 512 threads
// each; under ThreadSanitizer there are fewer.
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

// A launch as others can repeat it. The arguments are converted to the kernel's parameters.
struct Argument {
  const void* data;
  size_t bytes;
};
struct DivertedLaunch {
  const void* kernel;  // the address of its function
  unsigned grid[3], block[3];
  size_t dynamic_shared_bytes;
  unsigned cluster_size;
  bool cooperative;
  size_t n_arguments;
  const Argument* arguments;
};

// Where `launch` is set, it gets the launches and no kernel runs; workspaces are then memory of
// `allocate`.
struct Diversion {
  void (*launch)(const DivertedLaunch*) = nullptr;
  void* (*allocate)(int64_t bytes) = nullptr;
};
Diversion& diversion();

// Launches like <<<grid, block, bytes>>> or cudaLaunchKernelEx: the arguments are evaluated and
// converted once, and every thread gets copies.
template <class... Parameters, class... Arguments>
void launch_kernel(dim3 grid, dim3 block, size_t bytes, unsigned cluster_size, bool cooperative,
                   void (*kernel)(Parameters...), Arguments&&... arguments) {
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  if (!diversion().launch)
    return launch(grid, block, bytes, cluster_size, cooperative,
                  [&] { std::apply(kernel, values); });
  const auto divert = [&](const auto&... each) {
    const Argument all[] = {{&each, sizeof each}..., {}};
    const DivertedLaunch diverted = {reinterpret_cast<const void*>(kernel),
                                     {grid.x, grid.y, grid.z},
                                     {block.x, block.y, block.z},
                                     bytes,
                                     cluster_size,
                                     cooperative,
                                     sizeof...(each),
                                     all};
    diversion().launch(&diverted);
  };
  std::apply(divert, values);
}

// The shape of a launch, for tests.
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

// The place where a thread synchronizes, for reports.
struct Site {
  const char* what = "";
  std::source_location location = {};
};

// Ends the launch, which throws std::runtime_error with this message.
[[noreturn]] void fail(const std::string& message);

// Returns how many threads passed a true predicate.
int block_barrier(bool predicate, const Site& site);
void cluster_barrier(const Site& site);
void grid_barrier(const Site& site);

// The values that the lanes of `mask` brought to a warp's meeting.
struct Lanes {
  uint64_t value[32];
  uint32_t present;
};
// `orders_memory` tells TSan whether the lanes' earlier accesses happen before their later ones.
Lanes collective(uint32_t mask, uint64_t value, bool orders_memory, const Site& site);
unsigned lane_id();

// Returns the block's array of that tag, filled with garbage at its first use. CUDA promises
// `alignment` and no more, so the address has no more.
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
