// The clusters that are on the machine at the same time, and whose turn it is.
#pragma once

#include <utility>

#include "scheduler.h"

namespace effebm::emulator {

template <class T>
void shuffle(std::vector<T>& items, Random& random) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random() % i]);
}

class Residents {
 public:
  explicit Residents(Launch& launch) : launch_(launch) {}

  void add(uint64_t cluster_number);
  // Runs the threads until all have exited or the launch has an error.
  void run();
  // Lets the host read what abandoned threads wrote, too.
  void finish();

 private:
  void prepare_threads();
  void choose_starved();
  bool starved(const Thread& thread) const;
  // Gives a turn to every thread that can run and, if `starve`, is not starved. Returns how many
  // had one.
  uint64_t pass(bool starve);
  void report_standstill(uint64_t turns, uint64_t idle_turns);

  Launch& launch_;
  const Schedule schedule_ = options().schedule;
  std::vector<std::unique_ptr<Cluster>> clusters_;
  std::vector<Thread*> waiting_;  // those that have not exited
  const Block* starved_block_ = nullptr;
  unsigned starved_warp_ = 0;
};

// Forgets the stacks after an error: abandoned threads may have left anything there for the
// sanitizers to see.
void forget_stacks();

}  // namespace effebm::emulator
