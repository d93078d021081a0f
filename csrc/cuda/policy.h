// The kernel policy: threads, elements per thread, and the sizes at which one kernel takes over
// from another. Plain C++, for hosts and devices alike. This file explains what a number means for
// a kernel, and the kernel's own file how the kernel uses it.
//
// A is the type of the arithmetic: double for states of float64, and otherwise float. The numbers
// are the same for sm_80, sm_90 and sm_100.
#pragma once

#include <cstdint>

#include "../core/arith.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

constexpr int kWarpSize = 32;

// Most kernels have blocks of kThreads threads. kThreadsAtOnce is the number that runs on a
// multiprocessor at the same time where a thread has at most 32 registers.
constexpr int kThreads = 256, kWarps = kThreads / kWarpSize, kThreadsAtOnce = 2048;

// A grid that walks over its work with a stride has at most so many blocks.
constexpr int64_t kMaxBlocks = 1 << 16;

// One random draw serves a quad, so the numerical contract fixes its size. A tile is a quad of
// every thread of a block, and as long as a group of a canonical sum.
constexpr int kQuad = 4, kTile = kThreads * kQuad;

// A thread of a flat kernel has so many bytes of each tensor, or a quad if that is more.
constexpr int kVectorBytes = 16;

// Top-k of rows in registers: the quads of a thread, the most threads that share a row, and so the
// longest row. A double takes two registers. More quads for a thread spread the search's arithmetic
// over more elements, and fewer leave room for more threads.
constexpr int kHeldQuads = 8, kHeld = kHeldQuads * kQuad;
template <class A>
constexpr int kMostRowThreads = sizeof(A) == 8 ? 256 : 512;
template <class A>
constexpr int64_t kMostHeld = int64_t(kMostRowThreads<A>) * kHeld;

// Block-Sign of blocks in registers, likewise.
constexpr int kBlockQuads = 4;
template <class A>
constexpr int kMostBlockThreads = sizeof(A) == 8 ? 512 : 1024;

// Top-k of longer rows. A thread block looks at a sample of each row, at most this share of it:
// kFewSamplers threads have kHeld elements each, and kMostRowThreads where a row is long enough for
// them.
constexpr int64_t kManySamples = 1 << 19;
constexpr int kFewSamplers = 128;
constexpr uint32_t kSampleShare = 8;
// The classifying pass: quads of a thread, and elements that a thread block looks at.
constexpr int kTileQuads = 4, kLongTile = kTileQuads * kTile;
// A row's list has room for a share of its elements. The bracket around the threshold should hold
// fewer: it reaches so many standard deviations of the sample's rank to either side, where the
// elements of a quad may be alike.
constexpr int64_t kListShare = 8, kListReserve = 1024;
constexpr float kBracketWidth = 6;

// The search for a threshold: after so many guesses it halves the interval, and after so many more
// counts it looks for the keys that there are.
constexpr int kMostGuesses = 10, kPatience = 8;

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
