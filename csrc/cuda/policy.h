// The kernel policy: threads, elements per thread, and the sizes at which one kernel takes over
// from another. Plain C++, for hosts and devices alike. This file says what a number
// means for a kernel, and the kernel's own file how the kernel uses it.
//
// By type: A is the type of the arithmetic, double for states of float64 and else float. A block
// that gathers values in shared memory has half as many threads for double, whose values take twice
// the room.
//
// By architecture: the numbers are the same for sm_80, sm_90 and sm_100. What differs between cards
// is asked of the card at launch (cuda::Device): its multiprocessors, the shared memory of a block,
// and clusters, which sm_90 brought.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "../core/arith.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Threads. Every kernel has blocks of kThreads, but where a block holds so much of a row that it
// has a multiprocessor to itself: these have kMostThreads.
constexpr int kWarpSize = 32;
constexpr int kThreads = 256, kManyThreads = 512;
constexpr int kWarps = kThreads / kWarpSize, kMostWarps = kManyThreads / kWarpSize;
template <class A>
constexpr int kMostThreads = sizeof(A) == 8 ? kThreads : kManyThreads;

// A grid walks over more work than that with a stride.
constexpr int64_t kMaxBlocks = 1 << 16;

// Elements. A quad is what one thread reads at a time and what one random draw is for, so the
// numerical contract fixes it. A tile is a quad of every thread of a block.
constexpr int kQuad = 4;
constexpr int kTile = kThreads * kQuad;
template <class A>
constexpr int kMostTile = kMostThreads<A> * kQuad;
constexpr int kWarpQuads = kWarpSize * kQuad;  // elements that a warp reads at a time

// Rows by tiles: the tiles for which a thread sets a row up once.
constexpr int kTilesPerTurn = 4;

// Rows in shared memory: the quads that a thread asks global memory for before it waits for the
// first. A block alone on a multiprocessor would else not keep the memory busy. Rows whose sums are
// taken on the way need registers for these.
template <bool kHasSums>
constexpr int kAhead = kHasSums ? 2 : 4;

// Top-k: which kernel takes a row of dim elements. All but the last read the row once.
enum class TopkTier {
  tiles,          // k = 0 and k = dim: nothing to select
  warp,           // up to 1024 elements, and no sums: a warp per row, its keys in registers
  block,          // what fits into a block's shared memory
  cluster,        // into that of 2, 4, 8 or 16 blocks; only where clusters_are_asked_for()
  resident_grid,  // into that of all multiprocessors: teams of blocks of a cooperative grid
  grid,           // anything: all blocks read the row in every pass
};

// Quads of a lane: few for short rows, and the most, as more keys would crowd a lane's registers.
constexpr int kFewQuads = 2, kMostQuads = 8;
constexpr int64_t kMostOfWarp = kMostQuads * kWarpQuads;

// A block that holds a longer slice has a multiprocessor to itself, and so kMostThreads.
constexpr int64_t kLongRow = 8192;
// A shorter slice is not worth another block's joining in.
constexpr int64_t kLeastSlice = 4096;

// The digits by which blocks count keys, and the groups of digits that are counted together, a
// thread each.
constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits;
constexpr int kDigitGroup = 8, kDigitGroups = kDigits / kDigitGroup;
static_assert(kDigitGroups <= kThreads);

// Blocks that share a row: of a cluster (above 8 not every card has room), and of a grid.
constexpr int kMostClusterBlocks = 16, kMostGridBlocks = 1024;

// Clusters have not been timed on a card yet: the environment has to ask for them.
inline bool clusters_are_asked_for() {
  const char* const wish = std::getenv("EFFEBM_CUDA_CLUSTERS");
  return wish && wish[0] == '1';
}

// Block-Sign: which kernel takes a row. All but the last read the row once.
enum class BlockSignTier {
  lanes,     // blocks of 4, 8, ..., 128 entries, or a row that is one such block: registers alone
  segments,  // what fits into a block's shared memory: a row, or a few blocks of its entries
  windows,   // anything: sums of 1024 entries first, then the tiles
};

// Elements of a segment, about, where blocks of entries allow it; a longer one has kMostThreads.
constexpr int64_t kSegment = 8192;
// Levels of a sum over what fits into shared memory.
constexpr int kResidentLevels = 2;

// Static shared memory that a kernel may have beside the arrays that its plan counts, in bytes.
constexpr int64_t kStaticReserve = 256;

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
