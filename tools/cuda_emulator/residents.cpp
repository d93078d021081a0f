#include "residents.h"

#include <cstdlib>
#include <exception>

namespace effebm::emulator {

thread_local constinit const Coordinates* current = nullptr;

namespace {

// Threads give others a turn after so many preemption points in order, or polling would never end.
constexpr unsigned kPatience = 64;
constexpr unsigned kPreemptionOdds = 8;  // one in so many, where the schedule is not in order
// Passes without progress after which a starved thread is fed: others may poll for what it does.
constexpr unsigned kStarvedPasses = 64;
// Turns without progress after which the launch is given up.
constexpr uint64_t kMaxIdleTurns = 2'000'000;

thread_local std::vector<Stack> stacks;

void thread_main() {
  entered(running->host);
  running->start.acquire();
  try {
    running->body();
  } catch (const Abandoned&) {
  } catch (const std::exception& e) {
    note_error(std::string("the kernel threw: ") + e.what());
  } catch (...) {
    note_error("the kernel threw");
  }
  running->finish.release();
  leave();
  switch_context(self().context, running->host, true);
  std::abort();
}

void fill_block(Block& block, uint64_t number, const Launch& launch) {
  const dim3 &grid = launch.grid, &size = launch.block;
  const unsigned threads = launch.threads_per_block();
  block.threads = std::vector<Thread>(threads);
  block.warps = std::vector<Warp>((threads + kWarpSize - 1) / kWarpSize);
  block.alive = threads;
  for (unsigned i = 0; i < threads; ++i) {
    Thread& thread = block.threads[i];
    thread.block = &block;
    thread.index = i;
    thread.thread_index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    thread.block_index = {static_cast<unsigned>(number % grid.x),
                          static_cast<unsigned>(number / grid.x % grid.y),
                          static_cast<unsigned>(number / grid.x / grid.y)};
    thread.block_dim = size;
    thread.grid_dim = grid;
    thread.cluster_size = launch.cluster_size;
    block.warps[thread.warp()].alive |= 1u << thread.lane();
  }
}

}  // namespace

void Residents::add(uint64_t cluster_number) {
  Cluster& cluster = *clusters_.emplace_back(std::make_unique<Cluster>());
  cluster.blocks = std::vector<Block>(launch_.cluster_size);
  for (unsigned rank = 0; rank < launch_.cluster_size; ++rank) {
    Block& block = cluster.blocks[rank];
    block.cluster = &cluster;
    fill_block(block, cluster_number * launch_.cluster_size + rank, launch_);
    cluster.alive += block.alive;
  }
  launch_.alive += cluster.alive;
}

void Residents::run() {
  prepare_threads();
  launch_.start.release();
  uint64_t progress = launch_.progress;
  unsigned idle_passes = 0;
  uint64_t idle_turns = 0;
  while (!waiting_.empty() && launch_.error.empty()) {
    if (schedule_ != Schedule::in_order) shuffle(waiting_, launch_.random);
    uint64_t turns = pass(true);
    if (!turns) {
      starved_block_ = nullptr;
      turns = pass(false);
    }
    std::erase_if(waiting_, [](const Thread* thread) { return thread->exited; });
    idle_turns += turns;
    ++idle_passes;
    if (launch_.progress != progress) idle_passes = 0, idle_turns = 0;
    progress = launch_.progress;
    if (idle_passes > kStarvedPasses) starved_block_ = nullptr;
    if (!starved_block_) choose_starved();
    if (!waiting_.empty() && launch_.error.empty()) report_standstill(turns, idle_turns);
  }
}

void Residents::finish() {
  for (const Thread* thread : waiting_) {
    const AttributedTo abandoned(thread->context.tsan_fiber);
    launch_.finish.release();
  }
}

void Residents::prepare_threads() {
  while (stacks.size() < launch_.alive) stacks.emplace_back();
  // Blocks get other stacks each time, because to TSan the threads on one stack are one thread.
  size_t next = launch_.random() % stacks.size();
  for (const auto& cluster : clusters_)
    for (Block& block : cluster->blocks)
      for (Thread& thread : block.threads) {
        prepare(thread.context, stacks[next++ % stacks.size()], thread_main);
        waiting_.push_back(&thread);
      }
}

void Residents::choose_starved() {
  if (waiting_.empty() || schedule_ == Schedule::in_order || schedule_ == Schedule::random) return;
  const Thread& thread = *waiting_[launch_.random() % waiting_.size()];
  starved_block_ = thread.block;
  starved_warp_ = thread.warp();
}

bool Residents::starved(const Thread& thread) const {
  return thread.block == starved_block_ &&
         (schedule_ == Schedule::starve_block || thread.warp() == starved_warp_);
}

uint64_t Residents::pass(bool starve) {
  uint64_t turns = 0;
  for (Thread* thread : waiting_) {
    if (!launch_.error.empty()) break;
    if (!thread->runnable() || (starve && starved(*thread))) continue;
    current = launch_.thread = thread;
    switch_context(launch_.host, thread->context);
    current = nullptr;
    ++turns;
  }
  return turns;
}

void Residents::report_standstill(uint64_t turns, uint64_t idle_turns) {
  if (idle_turns > kMaxIdleTurns)
    launch_.error = "no progress: threads poll for what does not happen";
  if (turns) return;
  const auto waits = [](const Thread& thread) {
    return describe(thread) + " at " + describe(thread.awaits->site);
  };
  launch_.error = "deadlock: " + std::to_string(waiting_.size()) + " threads wait, such as " +
                  waits(*waiting_.front()) + "; " + waits(*waiting_.back());
}

void forget_stacks() { stacks.clear(); }

Thread& self() { return *running->thread; }

void give_turn() {
  Thread& thread = self();
  thread.unpreempted = 0;
  switch_context(thread.context, running->host);
}

void preemption_point() {
  if (!running) return;
  const bool stay = options().schedule == Schedule::in_order
                        ? ++self().unpreempted < kPatience
                        : running->random() % kPreemptionOdds != 0;
  if (!stay) give_turn();
}

}  // namespace effebm::emulator
