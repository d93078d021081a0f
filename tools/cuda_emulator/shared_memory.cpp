// Shared memory of blocks and clusters.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef EFFEBM_EMULATOR_TSAN
#include <sys/mman.h>
#endif

#include "scheduler.h"

namespace effebm::emulator {
namespace {

constexpr size_t kMaxStaticBytes = 48 << 10;
constexpr size_t kPage = 128;  // more than any alignment that a kernel asks for

// The memory comes straight from the system under TSan, because unmapping makes TSan forget earlier
// accesses, and otherwise from malloc, which AddressSanitizer surrounds with red zones.
char* allocate(size_t bytes) {
#ifdef EFFEBM_EMULATOR_TSAN
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
#else
  void* memory = std::aligned_alloc(kPage, bytes);
  if (!memory) throw std::bad_alloc();
#endif
  return static_cast<char*>(memory);
}

void release(char* memory, [[maybe_unused]] size_t bytes) {
#ifdef EFFEBM_EMULATOR_TSAN
  munmap(memory, bytes);
#else
  unpoison(memory, bytes);
  std::free(memory);
#endif
}

// AddressSanitizer tells addressable bytes from others only behind an 8-byte boundary.
size_t offset_for(size_t alignment) {
#ifdef __SANITIZE_ADDRESS__
  return std::max<size_t>(alignment, 8);
#else
  return alignment;
#endif
}

SharedArray& array_of(Block& block, const void* tag, size_t bytes, size_t alignment) {
  auto found = block.shared.find(tag);
  if (found == block.shared.end()) {
    const AttributedTo host(running->host.tsan_fiber);
    found = block.shared.try_emplace(tag, bytes, alignment).first;
    running->start.release();
  }
  running->start.acquire();
  return found->second;
}

// The tag of the launch's dynamic array.
const char dynamic_tag = 0;

}  // namespace

SharedArray::SharedArray(size_t bytes, size_t alignment) : bytes_(bytes), alignment_(alignment) {
  // The array begins at an odd multiple of the alignment, so that nothing is aligned better than
  // promised.
  const size_t offset = offset_for(alignment);
  allocated_ = (offset + bytes + kPage - 1) / kPage * kPage;
  allocation_ = allocate(allocated_);
  data_ = allocation_ + offset;
  std::memset(data_, options().fill, bytes);
  poison(allocation_, offset);
  poison(data_ + bytes, allocated_ - offset - bytes);
}

SharedArray::~SharedArray() { release(allocation_, allocated_); }

void SharedArray::end() {
  note_write(data_, bytes_);
  // The writes are volatile, or they might become a memset, which TSan would watch.
  for (size_t i = 0; i < bytes_; ++i)
    static_cast<volatile char*>(data_)[i] = static_cast<char>(~options().fill);
  poison(data_, bytes_);
}

void* shared_array(const void* tag, size_t bytes, size_t alignment) {
  Block& block = *self().block;
  const bool known = block.shared.contains(tag);
  SharedArray& array = array_of(block, tag, bytes, alignment);
  if (!known) {
    block.shared_bytes += bytes;
    if (block.shared_bytes > kMaxStaticBytes) fail("more than 48 KiB of static shared memory");
    if (block.shared_bytes + running->dynamic_shared_bytes > kMostShared)
      fail("more than 227 KiB of shared memory");
  }
  return array.data();
}

void* dynamic_shared_array() {
  constexpr size_t kAlignment = 16;
  if (!running->dynamic_shared_bytes) fail("the launch asked for no dynamic shared memory");
  return array_of(*self().block, &dynamic_tag, running->dynamic_shared_bytes, kAlignment).data();
}

void* map_shared_rank(const void* address, unsigned rank) {
  Block& own = *self().block;
  if (rank >= own.cluster->blocks.size()) fail("map_shared_rank: no such rank in the cluster");
  for (auto& [tag, array] : own.shared) {
    const ptrdiff_t position = static_cast<const char*>(address) - array.data();
    if (position < 0 || position >= static_cast<ptrdiff_t>(array.bytes())) continue;
    Block& other = own.cluster->blocks[rank];
    return array_of(other, tag, array.bytes(), array.alignment()).data() + position;
  }
  fail("map_shared_rank: not an address in shared memory");
}

}  // namespace effebm::emulator
