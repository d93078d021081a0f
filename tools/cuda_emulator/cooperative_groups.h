// The part of cooperative_groups for clusters and for the whole grid.
#pragma once

#include "runtime.h"

namespace cooperative_groups {

struct cluster_group {
  unsigned block_rank() const { return effebm::emulator::current->block_index.x % num_blocks(); }
  unsigned num_blocks() const { return effebm::emulator::current->cluster_size; }
  void sync(std::source_location where = std::source_location::current()) const {
    effebm::emulator::cluster_barrier({"cluster.sync", where});
  }
  template <class T>
  T* map_shared_rank(T* address, unsigned rank) const {
    return static_cast<T*>(effebm::emulator::map_shared_rank(address, rank));
  }
};
inline cluster_group this_cluster() { return {}; }

struct grid_group {
  void sync(std::source_location where = std::source_location::current()) const {
    effebm::emulator::grid_barrier({"grid.sync", where});
  }
};
inline grid_group this_grid() { return {}; }

}  // namespace cooperative_groups
