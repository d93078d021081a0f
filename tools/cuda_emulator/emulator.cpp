// Launches: whether they are allowed, and which clusters run at the same time.
#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <stdexcept>

#include "residents.h"
#include "scheduler.h"

namespace effebm::emulator {

thread_local constinit Launch* running = nullptr;

namespace {

#ifdef EFFEBM_EMULATOR_TSAN
constexpr unsigned kMaxResident = 4096;  // TSan knows 8128 threads and fibers
#else
constexpr unsigned kMaxResident = 16384;  // each has two mappings; Linux grants 65530
#endif
// Threads that share the machine unless the grid is cooperative: as many as a multiprocessor has.
constexpr unsigned kUsuallyResident = 2048;
constexpr unsigned kMaxClustersAtOnce = 4;
constexpr unsigned kMaxClusterSize = 16;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

Options options_from_environment() {
  Options defaults;
  defaults.seed = from_environment("EFFEBM_EMULATOR_SEED", defaults.seed);
  defaults.fill = static_cast<int>(
      from_environment("EFFEBM_EMULATOR_FILL", static_cast<uint64_t>(defaults.fill)));
  defaults.schedule = static_cast<Schedule>(
      from_environment("EFFEBM_EMULATOR_SCHEDULE", static_cast<uint64_t>(defaults.schedule)));
  return defaults;
}

const char* refusal(const Launch& launch) {
  const dim3 &grid = launch.grid, &block = launch.block;
  constexpr uint64_t kMaxX = (1u << 31) - 1, kMaxOther = 65535, kMaxThreads = 1024;
  if (!grid.x || !grid.y || !grid.z || grid.x > kMaxX || grid.y > kMaxOther || grid.z > kMaxOther)
    return "the grid's size is not allowed";
  if (!block.x || !block.y || !block.z || block.x > kMaxThreads || block.y > kMaxThreads ||
      block.z > 64 || launch.threads_per_block() > kMaxThreads)
    return "the block's size is not allowed";
  if (!launch.cluster_size || launch.cluster_size > kMaxClusterSize || grid.x % launch.cluster_size)
    return "the cluster's size is not allowed";
  if (launch.dynamic_shared_bytes > kMostShared) return "too much dynamic shared memory";
  if (options().schedule < Schedule::in_order || options().schedule > Schedule::starve_block)
    return "there is no such schedule";
  return nullptr;
}

// Chooses how many clusters run at once, which a kernel cannot rely on, as on a GPU.
uint64_t choose_count(Launch& launch, uint64_t left) {
  if (launch.cooperative) return left;
  if (options().schedule == Schedule::in_order) return 1;
  const unsigned threads = launch.threads_per_block() * launch.cluster_size;
  const uint64_t fit = std::clamp(kUsuallyResident / threads, 1u, kMaxClustersAtOnce);
  return std::min(left, 1 + launch.random() % fit);
}

std::vector<uint64_t> order_of_clusters(Launch& launch, uint64_t count) {
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (options().schedule != Schedule::in_order)
    shuffle(order, launch.random);
  else if (options().seed % 2)
    std::reverse(order.begin(), order.end());
  return order;
}

void run_all(Launch& launch) {
  const uint64_t clusters = launch.threads() / launch.threads_per_block() / launch.cluster_size;
  const std::vector<uint64_t> order = order_of_clusters(launch, clusters);
  // A fiber of its own frees the threads' memory, so that nobody's later work seems ordered after
  // the threads' work.
  static thread_local void* const reaper = new_tsan_fiber();
  for (uint64_t next = 0; next < order.size() && launch.error.empty();) {
    uint64_t count = choose_count(launch, order.size() - next);
    const uint64_t threads = count * launch.cluster_size * launch.threads_per_block();
    if (threads > kMaxResident) {
      launch.error = std::to_string(threads) + " threads at the same time are too many";
      return;
    }
    auto residents = std::make_unique<Residents>(launch);
    for (; count > 0; --count) residents->add(order[next++]);
    residents->run();
    residents->finish();
    launch.finish.release();
    const AttributedTo freeing(reaper);
    launch.finish.acquire();
    residents.reset();
  }
}

// Ends a launch, also where it throws.
struct Running {
  explicit Running(Launch& launch) { running = &launch; }
  ~Running() {
    if (!running->error.empty()) forget_stacks();
    running = nullptr;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
};

LaunchShape& last_launch() {
  static thread_local LaunchShape shape = {};
  return shape;
}

}  // namespace

Options& options() {
  static Options global = options_from_environment();
  return global;
}

DeviceProperties& device_properties() {
  static DeviceProperties global;
  return global;
}

Diversion& diversion() {
  static Diversion global;
  return global;
}

std::string describe(const Thread& thread) {
  const uint3 block = thread.block_index;
  std::string name = "block " + std::to_string(block.x);
  if (thread.grid_dim.y > 1 || thread.grid_dim.z > 1)
    name += "," + std::to_string(block.y) + "," + std::to_string(block.z);
  return name + " thread " + std::to_string(thread.index) + " (lane " +
         std::to_string(thread.lane()) + ")";
}

std::string describe(const Site& site) {
  return std::string(site.what) + " in " + site.location.file_name() + ":" +
         std::to_string(site.location.line());
}

void launch(dim3 grid, dim3 block, size_t dynamic_shared_bytes, unsigned cluster_size,
            bool cooperative, const std::function<void()>& body) {
  if (running) fail("a launch from within a kernel");
  Launch launch(grid, block, dynamic_shared_bytes, cluster_size, cooperative, body);
  if (const char* reason = refusal(launch))
    throw std::runtime_error(std::string("cuda emulator: ") + reason);
  last_launch() = {grid.x * grid.y * grid.z, launch.threads_per_block(), dynamic_shared_bytes,
                   cluster_size, cooperative};
  launch.random = Random(options().seed);
  launch.host.tsan_fiber = current_tsan_fiber();
  {
    const Running scope(launch);
    run_all(launch);
  }
  launch.finish.acquire();
  if (!launch.error.empty()) throw std::runtime_error("cuda emulator: " + launch.error);
}

}  // namespace effebm::emulator

extern "C" __attribute__((visibility("default"))) void effebm_emulator_options(uint64_t seed,
                                                                               int fill,
                                                                               int schedule) {
  effebm::emulator::options() = {seed, fill, static_cast<effebm::emulator::Schedule>(schedule)};
}

extern "C" __attribute__((visibility("default"))) effebm::emulator::DeviceProperties*
effebm_emulator_device() {
  return &effebm::emulator::device_properties();
}

extern "C" __attribute__((visibility("default"))) effebm::emulator::Diversion*
effebm_emulator_diversion() {
  return &effebm::emulator::diversion();
}

extern "C" __attribute__((visibility("default"))) const effebm::emulator::LaunchShape*
effebm_emulator_last_launch() {
  return &effebm::emulator::last_launch();
}
