// The kernel policy: threads, elements per thread, and the sizes at which one kernel takes over
// from another. Plain C++, for hosts and devices alike. This file explains what a number means for
// a kernel, and the kernel's own file how the kernel uses it.
//
// A is the type of the arithmetic: double for states of float64, and otherwise float. A block that
// gathers values in shared memory has half as many threads for double, whose values take twice the
// room.
//
// The numbers are the same for sm_80, sm_90 and sm_100. A launch asks the card for the properties
// that differ (cuda::Device): its multiprocessors, the shared memory of a block, and clusters,
// which sm_90 brought.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "../core/arith.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Blocks have kThreads threads, or kMostThreads where rows or segments are long.
constexpr int kWarpSize = 32;
constexpr int kThreads = 256, kManyThreads = 512;
constexpr int kWarps = kThreads / kWarpSize, kMostWarps = kManyThreads / kWarpSize;
template <class A>
constexpr int kMostThreads = sizeof(A) == 8 ? kThreads : kManyThreads;

// A grid has at most so many blocks, and walks over more work with a stride.
constexpr int64_t kMaxBlocks = 1 << 16;

// A quad is what one thread reads at a time. One random draw serves a quad, so the numerical
// contract fixes its size. A tile is a quad of every thread of a block.
constexpr int kQuad = 4;
constexpr int kTile = kThreads * kQuad;
template <class A>
constexpr int kMostTile = kMostThreads<A> * kQuad;
constexpr int kWarpQuads = kWarpSize * kQuad;  // elements that a warp reads at a time

// Rows by tiles: a thread sets up a row once for so many tiles.
constexpr int kTilesPerTurn = 4;

// Rows in shared memory: a thread asks global memory for so many quads before it waits for the
// first. A block alone on a multiprocessor would otherwise not keep the memory busy. Rows with sums
// need some of the registers for these.
template <bool kHasSums>
constexpr int kAhead = kHasSums ? 2 : 4;

// Top-k: which kernel takes a row of dim elements. All but the last read the row once.
enum class TopkTier {
  tiles,          // k = 0 and k = dim: nothing to select
  warp,           // up to 1024 elements, and no sums: a warp per row, its keys in registers
  block,          // a row that fits into a block's shared memory
  cluster,        // one that fits into 2, 4, 8 or 16 blocks; only where clusters_are_asked_for()
  resident_grid,  // one that fits into all multiprocessors: teams of a cooperative grid
  grid,           // anything: all blocks read the row in every pass
};

// Quads of a lane: few for short rows, and the most, as more keys would crowd a lane's registers.
constexpr int kFewQuads = 2, kMostQuads = 8;
constexpr int64_t kMostOfWarp = kMostQuads * kWarpQuads;

// A longer row has blocks of kMostThreads, because few blocks that hold so much fit on a
// multiprocessor.
constexpr int64_t kLongRow = 8192;
// A shorter slice is not worth another block.
constexpr int64_t kLeastSlice = 4096;

// The digits by which blocks count keys, and the groups of digits, one for a thread each.
constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits;
constexpr int kDigitGroup = 8, kDigitGroups = kDigits / kDigitGroup;
static_assert(kDigitGroups <= kThreads);

// The most blocks that share a row: of a cluster (above 8 not every card has room), and of a grid.
constexpr int kMostClusterBlocks = 16, kMostGridBlocks = 1024;

// Clusters have not been timed on a card yet: the environment has to ask for them.
inline bool clusters_are_asked_for() {
  const char* const wish = std::getenv("EFFEBM_CUDA_CLUSTERS");
  return wish && wish[0] == '1';
}

// Block-Sign: which kernel takes a row. All but the last read the row once.
enum class BlockSignTier {
  lanes,     // blocks of 4, 8, ..., 128 entries, or a row that is one such block: only registers
  segments,  // fits into a block's shared memory: a row, or a few blocks of its entries
  windows,   // anything: sums of 1024 entries first, then the tiles
};

// A segment has about so many elements, where blocks of entries allow it. A longer one has
// kMostThreads.
constexpr int64_t kSegment = 8192;
// Levels of a sum over what fits into shared memory.
constexpr int kResidentLevels = 2;

// The static shared memory in bytes that a kernel may have besides the arrays that its plan counts.
constexpr int64_t kStaticReserve = 256;

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
