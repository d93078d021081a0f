// Barriers, and meetings of a warp's lanes.
#include <cstring>
#include <stdexcept>

#include "scheduler.h"

namespace effebm::emulator {
namespace {

bool same(const Site& a, const Site& b) {
  return a.location.line() == b.location.line() && a.location.column() == b.location.column() &&
         !std::strcmp(a.location.file_name(), b.location.file_name());
}

void end_generation(Meeting& meeting) {
  meeting.arrived = 0;
  ++meeting.generation;
  ++running->progress;
}

void end_generation(Barrier& barrier) {
  barrier.last_true_predicates = barrier.true_predicates;
  barrier.true_predicates = 0;
  end_generation(static_cast<Meeting&>(barrier));
}

void await(const Meeting& meeting) {
  Thread& thread = self();
  thread.awaited_generation = meeting.generation;
  thread.awaits = &meeting;
  while (!thread.runnable()) give_turn();
  thread.awaits = nullptr;
}

int arrive(Barrier& barrier, unsigned expected, bool predicate, const Site& site) {
  if (barrier.arrived == 0)
    barrier.site = site;
  else if (!same(barrier.site, site))
    fail("divergent barrier: " + describe(self()) + " is at " + describe(site) + ", others at " +
         describe(barrier.site));
  Order& order = barrier.order[barrier.generation % 2];
  ++barrier.arrived;
  barrier.true_predicates += predicate;
  order.release();
  if (barrier.arrived == expected)
    end_generation(barrier);
  else
    await(barrier);
  order.acquire();
  return barrier.last_true_predicates;
}

// Returns the meeting of exactly these lanes. Others may be at the meeting of another mask
// meanwhile and come later; if they never do, that is a deadlock.
WarpMeeting& meeting_of(Warp& warp, uint32_t mask) {
  for (const auto& meeting : warp.meetings)
    if (meeting->mask == mask) return *meeting;
  const AttributedTo host(running->host.tsan_fiber);
  WarpMeeting& meeting = *warp.meetings.emplace_back(std::make_unique<WarpMeeting>());
  meeting.mask = mask;
  return meeting;
}

}  // namespace

void fail(const std::string& message) {
  if (!running) throw std::runtime_error("cuda emulator: " + message);
  note_error(message);
  throw Abandoned();
}

void note_error(const std::string& message) {
  if (running->error.empty()) running->error = message;
  running->finish.release();
}

int block_barrier(bool predicate, const Site& site) {
  Block& block = *self().block;
  const auto size = static_cast<unsigned>(block.threads.size());
  if (block.alive != size)
    fail("divergent barrier: " + describe(self()) + " is at " + describe(site) +
         " after other threads of the block exited");
  return arrive(block.barrier, size, predicate, site);
}

void cluster_barrier(const Site& site) {
  Cluster& cluster = *self().block->cluster;
  arrive(cluster.barrier, cluster.alive, false, site);
}

void grid_barrier(const Site& site) {
  if (!running->cooperative) fail("grid.sync in a launch that is not cooperative");
  if (running->alive != running->threads())
    fail("divergent barrier: " + describe(self()) + " is at " + describe(site) +
         " after other threads of the grid exited");
  arrive(running->grid_barrier, running->alive, false, site);
}

Lanes collective(uint32_t mask, uint64_t value, bool orders_memory, const Site& site) {
  const Thread& thread = self();
  Block& block = *thread.block;
  Warp& warp = block.warps[thread.warp()];
  if (!(mask >> thread.lane() & 1))
    fail(describe(thread) + " is not in its own mask, at " + describe(site));
  // A last warp may be incomplete, and the constant for all lanes is common all the same.
  const auto lanes = static_cast<unsigned>(block.threads.size()) - thread.warp() * kWarpSize;
  if (lanes < kWarpSize) mask &= (1u << lanes) - 1;
  if (mask & ~warp.alive)
    fail(describe(thread) + ": the mask names exited lanes, at " + describe(site));

  WarpMeeting& meeting = meeting_of(warp, mask);
  if (meeting.arrived_lanes == 0)
    meeting.site = site;
  else if (std::strcmp(meeting.site.what, site.what))
    fail(describe(thread) + ": lanes of a warp meet in different functions, at " + describe(site) +
         " and at " + describe(meeting.site));
  const uint64_t generation = meeting.generation % 2;
  meeting.value[generation][thread.lane()] = value;
  meeting.arrived_lanes |= 1u << thread.lane();
  if (orders_memory) meeting.order[generation].release();
  if (meeting.arrived_lanes == mask) {
    meeting.arrived_lanes = 0;
    end_generation(meeting);
  } else {
    await(meeting);
  }
  if (orders_memory) meeting.order[generation].acquire();
  Lanes result;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    result.value[lane] = meeting.value[generation][lane];
  result.present = mask;
  return result;
}

unsigned lane_id() { return self().lane(); }

void memory_fence() {
  // This orders every fence before every later one: more than CUDA does, so that TSan may miss a
  // race where threads have fences but no flag between them.
  running->fences.release();
  running->fences.acquire();
  preemption_point();
}

void leave() {
  Thread& thread = self();
  Block& block = *thread.block;
  Cluster& cluster = *block.cluster;
  Warp& warp = block.warps[thread.warp()];
  const uint32_t lane = 1u << thread.lane();
  thread.exited = true;
  ++running->progress;
  warp.alive &= ~lane;
  --block.alive;
  --cluster.alive;
  --running->alive;
  if (block.barrier.arrived)
    note_error("divergent barrier: " + describe(thread) + " exited while others wait at " +
               describe(block.barrier.site));
  if (running->grid_barrier.arrived)
    note_error("divergent barrier: " + describe(thread) + " exited while others wait at " +
               describe(running->grid_barrier.site));
  for (const auto& meeting : warp.meetings)
    if (meeting->arrived_lanes && (meeting->mask & lane))
      note_error(describe(thread) + " exited while lanes wait for it at " +
                 describe(meeting->site));
  // Unlike the others, a cluster's barrier waits for the threads that are left.
  if (cluster.barrier.arrived && cluster.barrier.arrived == cluster.alive)
    end_generation(cluster.barrier);
  block.exits.release();
  if (block.alive == 0) {
    block.exits.acquire();
    for (auto& [tag, array] : block.shared) array.end();
  }
}

}  // namespace effebm::emulator
