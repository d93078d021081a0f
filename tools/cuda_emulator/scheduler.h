// A launch, as the files of the emulator share it.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "fiber.h"
#include "runtime.h"
#include "sanitizers.h"

namespace effebm::emulator {

constexpr unsigned kWarpSize = 32;

// SplitMix64. A generator of the standard library would share its code with an instrumented kernel,
// and TSan would then watch the schedule being drawn.
class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed) {}
  uint64_t operator()() {
    uint64_t word = state_ += 0x9E3779B97F4A7C15u;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9u;
    word = (word ^ word >> 27) * 0x94D049BB133111EBu;
    return word ^ word >> 31;
  }

 private:
  uint64_t state_;
};

// A place where a fixed set of threads waits for each other, again and again. A generation ends
// when all have come; the orders alternate because some may leave one generation after others
// entered the next.
struct Meeting {
  unsigned arrived = 0;
  uint64_t generation = 0;
  Site site;
  Order order[2];
};

struct Barrier : Meeting {
  int true_predicates = 0, last_true_predicates = 0;
};

// The lanes of one mask.
struct WarpMeeting : Meeting {
  uint32_t mask = 0, arrived_lanes = 0;
  // It is volatile, or the compiler might copy by memcpy, which TSan would watch.
  volatile uint64_t value[2][kWarpSize] = {};
};

struct Warp {
  uint32_t alive = 0;
  std::vector<std::unique_ptr<WarpMeeting>> meetings;
};

class SharedArray {
 public:
  SharedArray(size_t bytes, size_t alignment);
  ~SharedArray();
  SharedArray(const SharedArray&) = delete;
  SharedArray& operator=(const SharedArray&) = delete;

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  size_t alignment() const { return alignment_; }
  // Makes every access an error from now on: its block has ended.
  void end();

 private:
  size_t bytes_, alignment_, allocated_;
  char *allocation_, *data_;
};

struct Block;

struct Thread : Coordinates {
  Context context;
  Block* block = nullptr;
  unsigned index = 0;  // within the block
  bool exited = false;
  const Meeting* awaits = nullptr;  // whose next generation it waits for
  uint64_t awaited_generation = 0;
  unsigned unpreempted = 0;  // preemption points since it last gave others a turn

  unsigned lane() const { return index % kWarpSize; }
  unsigned warp() const { return index / kWarpSize; }
  bool runnable() const { return !exited && (!awaits || awaits->generation != awaited_generation); }
};

struct Cluster;

struct Block {
  Cluster* cluster = nullptr;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned alive = 0;
  Barrier barrier;
  std::map<const void*, SharedArray> shared;
  size_t shared_bytes = 0;
  Order exits;
};

struct Cluster {
  std::vector<Block> blocks;
  unsigned alive = 0;
  Barrier barrier;
};

struct Launch {
  Launch(dim3 grid_size, dim3 block_size, size_t dynamic_bytes, unsigned blocks_per_cluster,
         bool is_cooperative, const std::function<void()>& thread_body)
      : grid(grid_size),
        block(block_size),
        dynamic_shared_bytes(dynamic_bytes),
        cluster_size(blocks_per_cluster),
        cooperative(is_cooperative),
        body(thread_body) {}

  unsigned threads_per_block() const { return block.x * block.y * block.z; }
  uint64_t threads() const { return uint64_t{grid.x} * grid.y * grid.z * threads_per_block(); }

  const dim3 grid, block;
  const size_t dynamic_shared_bytes;
  const unsigned cluster_size;
  const bool cooperative;
  const std::function<void()>& body;
  Random random;
  Context host;
  Thread* thread = nullptr;  // the running one
  std::string error;
  unsigned alive = 0;     // resident threads that have not exited
  uint64_t progress = 0;  // counts events that polling alone does not cause
  Barrier grid_barrier;
  Order start, finish, fences;
};

extern thread_local constinit Launch* running;

Thread& self();
void give_turn();  // returns when the scheduler picks this thread again
void leave();      // the thread's work is done; others may now be allowed to go on, or never
// Records the first error, after which the scheduler gives no turns.
void note_error(const std::string& message);
// The exception that a failed thread throws through its kernel, so that its stack is cleaned up.
struct Abandoned {};

std::string describe(const Thread& thread);
std::string describe(const Site& site);

}  // namespace effebm::emulator
