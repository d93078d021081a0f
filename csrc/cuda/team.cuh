// Thread blocks that share a row: each has a slice of it, and they count its digits and ties.
// A team is one block, a cluster, or a part of a grid.
#pragma once

#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct TeamShape {
  int size = 1;              // blocks of a team
  int64_t slice = 0;         // elements per block; the row's last may have fewer
  void* counters = nullptr;  // for all teams, if these count in global memory
};

// The digit of the wanted-th largest key, and the rank of that key among the keys with the digit.
struct Digit {
  uint32_t digit, wanted;
};

// Finds the digit from the counts of digits and of groups of digits. Every thread calls it.
template <class GroupCount, class Count>
__device__ Digit find_digit(const GroupCount& group_count, const Count& count, uint32_t wanted) {
  EFFEBM_SHARED(uint32_t, found, 2);
  const int group = kDigitGroups - 1 - int(threadIdx.x);  // thread 0 owns the largest digits
  const uint32_t own = group >= 0 ? group_count(group) : 0;
  uint32_t above = block_scan(own).before;
  if (above < wanted && wanted <= above + own) {
    int digit = (group + 1) * kDigitGroup - 1;
    for (uint32_t here; wanted > above + (here = count(digit)); --digit) above += here;
    found[0] = uint32_t(digit);
    found[1] = wanted - above;
  }
  __syncthreads();
  return {found[0], found[1]};
}

__device__ inline uint32_t group_total(const uint32_t* count, int group) {
  uint32_t total = 0;
  for (int j = 0; j < kDigitGroup; ++j) total += count[group * kDigitGroup + j];
  return total;
}

__device__ inline Slice slice_of(const TeamShape& shape, int rank, int64_t dim) {
  const int64_t begin = rank * shape.slice, end = begin + shape.slice;
  return {begin < dim ? begin : dim, end < dim ? end : dim};
}

class SingleBlock {
 public:
  __device__ explicit SingleBlock(const TeamShape&) {}
  __device__ int64_t index() const { return blockIdx.x; }
  __device__ int64_t count() const { return gridDim.x; }
  __device__ Slice slice(int64_t dim) const { return {0, dim}; }
  __device__ void begin() const {}
  __device__ void skip(int) const {}
  __device__ void end() const {}

  // Finds the digit from the block's counts, once these are complete.
  __device__ Digit find(const uint32_t* count, uint32_t wanted) const {
    return find_digit([=](int group) { return group_total(count, group); },
                      [=](int digit) { return count[digit]; }, wanted);
  }

  // Returns the sum of `own` over the team's blocks before this one.
  __device__ uint32_t before(uint32_t /*own*/) const { return 0; }
};

// A cluster, in which each block reads the counts of the others from their shared memory.
class Cluster {
 public:
  __device__ explicit Cluster(const TeamShape& shape) : shape_(shape) {}
  __device__ int64_t index() const { return int(blockIdx.x) / shape_.size; }
  __device__ int64_t count() const { return int(gridDim.x) / shape_.size; }
  __device__ Slice slice(int64_t dim) const { return slice_of(shape_, rank(), dim); }
  __device__ void begin() const {}
  __device__ void skip(int) const {}
  __device__ void end() const { sync(); }  // until then others may read this block's memory

  __device__ Digit find(const uint32_t* count, uint32_t wanted) const {
    sync();
    const auto of_all = [&](auto of_block) {
      uint32_t total = 0;
      for (int block = 0; block < shape_.size; ++block) total += of_block(of(count, block));
      return total;
    };
    const Digit found = find_digit(
        [&](int group) {
          return of_all([=](const uint32_t* theirs) { return group_total(theirs, group); });
        },
        [&](int digit) { return of_all([=](const uint32_t* theirs) { return theirs[digit]; }); },
        wanted);
    sync();  // before the next digit is counted
    return found;
  }

  __device__ uint32_t before(uint32_t own) const {
    EFFEBM_SHARED(uint32_t, ties, 1);
    if (threadIdx.x == 0) ties[0] = own;
    sync();
    uint32_t sum = 0;
    for (int block = 0; block < rank(); ++block) sum += *of(ties, block);
    return sum;
  }

 private:
#if defined(EFFEBM_CUDA_EMULATOR) || __CUDA_ARCH__ >= 900
  __device__ int rank() const { return int(cooperative_groups::this_cluster().block_rank()); }
  __device__ void sync() const { cooperative_groups::this_cluster().sync(); }
  // The address at which that block has the variable that is here at `own`.
  __device__ const uint32_t* of(const uint32_t* own, int block) const {
    return cooperative_groups::this_cluster().map_shared_rank(const_cast<uint32_t*>(own), block);
  }
#else  // no clusters, so this is not launched
  __device__ int rank() const { return 0; }
  __device__ void sync() const { __trap(); }
  __device__ const uint32_t* of(const uint32_t* own, int) const { return own; }
#endif

  TeamShape shape_;
};

// A team of `size` blocks of a cooperative grid, which count in global memory. Each barrier waits
// for the whole grid, so all teams have the same number of barriers. Digits use three sets of
// counters in turn: once all blocks have added to a set, the set before it is cleared, and the set
// after it has been clear since the digit before.
class Grid {
 public:
  static constexpr int kSets = 3;
  struct Counters {
    uint32_t digits[kSets][kDigits];
    uint32_t groups[kSets][kDigitGroups];
    uint32_t ties[kMostGridBlocks];
  };

  __device__ explicit Grid(const TeamShape& shape)
      : shape_(shape), counters_(static_cast<Counters*>(shape.counters) + index()) {}
  __device__ int64_t index() const { return int(blockIdx.x) / shape_.size; }
  __device__ int64_t count() const { return int(gridDim.x) / shape_.size; }
  __device__ Slice slice(int64_t dim) const { return slice_of(shape_, rank(), dim); }
  __device__ void begin() const {
    for (int set = 0; set < kSets; ++set) clear(set);
    sync();
  }
  __device__ void skip(int finds) const {  // joins the barriers of the teams that have a row
    for (int i = 0; i < finds + 1; ++i) sync();
  }
  __device__ void end() const {}

  __device__ Digit find(const uint32_t* count, uint32_t wanted) {
    uint32_t* const digits = counters_->digits[set_];
    uint32_t* const groups = counters_->groups[set_];
    for (int group = int(threadIdx.x); group < kDigitGroups; group += threads()) {
      const uint32_t total = group_total(count, group);
      if (total == 0) continue;
      atomicAdd(&groups[group], total);
      for (int digit = group * kDigitGroup; digit < (group + 1) * kDigitGroup; ++digit)
        if (count[digit]) atomicAdd(&digits[digit], count[digit]);
    }
    sync();
    clear((set_ + kSets - 1) % kSets);
    set_ = (set_ + 1) % kSets;
    return find_digit([=](int group) { return groups[group]; },
                      [=](int digit) { return digits[digit]; }, wanted);
  }

  __device__ uint32_t before(uint32_t own) const {
    if (threadIdx.x == 0) counters_->ties[rank()] = own;
    sync();
    uint32_t sum = 0;
    for (int block = int(threadIdx.x); block < rank(); block += threads())
      sum += counters_->ties[block];
    return block_scan(sum).total;
  }

 private:
  __device__ int rank() const { return int(blockIdx.x) % shape_.size; }
  __device__ void sync() const { cooperative_groups::this_grid().sync(); }
  __device__ void clear(int set) const {
    if (rank() != 0) return;
    for (int i = int(threadIdx.x); i < kDigits; i += threads()) counters_->digits[set][i] = 0;
    for (int i = int(threadIdx.x); i < kDigitGroups; i += threads()) counters_->groups[set][i] = 0;
  }

  TeamShape shape_;
  Counters* counters_;
  int set_ = 0;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
