#include "checkpoint/staging.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <new>

#include "base/stream_copy.h"

namespace millrace {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kPinnedSlab = int64_t{1} << 30;

void wait_for_copies_from(const std::vector<torch::Device>& devices) {
  for (const torch::Device& device : devices) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeStream(guard.getStream(device));
  }
}

int64_t aligned(int64_t size, int64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

// In huge pages if the system has them: faulting in 4 KiB at a time costs more than the copy itself.
torch::Tensor host_memory(int64_t num_bytes) {
  const auto size = static_cast<size_t>(aligned(num_bytes, kHugePage));
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, size, MADV_HUGEPAGE);
  return torch::from_blob(
      memory, {num_bytes}, [size](void* data) { ::munmap(data, size); }, torch::kUInt8);
}

// Copies on all of torch's threads, whatever the sizes.
class ParallelCopy {
 public:
  void add(void* target, const void* source, size_t size) {
    for (size_t done = 0; done < size; done += kChunk) {
      chunks_.push_back({static_cast<std::byte*>(target) + done, static_cast<const std::byte*>(source) + done,
                         std::min(kChunk, size - done)});
    }
  }
  // Every thread takes the next chunk when it is done with one, so that a busy core does not delay the copy.
  void run() const {
    std::atomic<size_t> next = 0;
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t /*begin*/, int64_t /*end*/) {
      for (size_t i = next++; i < chunks_.size(); i = next++) {
        stream_copy(chunks_[i].target, chunks_[i].source, chunks_[i].size);
      }
    });
  }

 private:
  static constexpr size_t kChunk = size_t{8} << 20;
  struct Chunk {
    std::byte* target;
    const std::byte* source;
    size_t size;
  };
  std::vector<Chunk> chunks_;
};

bool is_in_place(const torch::Tensor& data) {
  return data.is_cpu() && data.is_contiguous();
}

// Sizes of the slabs for pieces of these sizes. torch rounds pinned memory up to a power of two, so it is allocated in
// slabs; a piece larger than a slab gets one of its own.
std::vector<int64_t> slab_sizes(const std::vector<int64_t>& sizes, bool pinned) {
  std::vector<int64_t> slabs;
  for (const int64_t size : sizes) {
    const int64_t room = aligned(size, kAlignment);
    if (slabs.empty() || (pinned && slabs.back() + room > kPinnedSlab)) slabs.push_back(0);
    slabs.back() += room;
  }
  return slabs;
}

// True for pieces that this rank writes. For other ranks' pieces only the size is used.
bool is_staged(const NamedPiece& piece) {
  return piece.saved && piece.data.numel() > 0;
}

std::vector<int64_t> sizes_of(const std::vector<NamedPiece>& pieces) {
  std::vector<int64_t> sizes;
  for (const NamedPiece& piece : pieces) {
    if (is_staged(piece)) sizes.push_back(static_cast<int64_t>(piece.data.nbytes()));
  }
  return sizes;
}

bool any_on_gpu(const std::vector<NamedPiece>& pieces) {
  return std::any_of(pieces.begin(), pieces.end(), [](const NamedPiece& piece) { return !piece.data.is_cpu(); });
}

}  // namespace

void HostStaging::prepare(const std::vector<int64_t>& sizes, bool pinned) {
  slab_ = 0;
  taken_ = 0;
  const std::vector<int64_t> wanted = slab_sizes(sizes, pinned);
  const auto fits = [&](const torch::Tensor& slab, int64_t size) {
    return pinned ? slab.numel() == size && slab.is_pinned() : slab.numel() >= size && !slab.is_pinned();
  };
  if (std::equal(slabs_.begin(), slabs_.end(), wanted.begin(), wanted.end(), fits)) return;
  slabs_.clear();  // before the new memory is taken
  for (const int64_t size : wanted) {
    slabs_.push_back(pinned ? torch::empty({size}, torch::dtype(torch::kUInt8).pinned_memory(true))
                            : host_memory(size));
  }
}

torch::Tensor HostStaging::take(int64_t num_bytes) {
  const int64_t room = aligned(num_bytes, kAlignment);
  if (taken_ > 0 && taken_ + room > slabs_.at(slab_).numel()) {
    ++slab_;
    taken_ = 0;
  }
  const torch::Tensor memory = slabs_.at(slab_).narrow(0, taken_, num_bytes);
  taken_ += room;
  return memory;
}

void HostStaging::reserve(const std::vector<NamedPiece>& pieces) {
  const bool pinned = any_on_gpu(pieces);
  prepare(sizes_of(pieces), pinned);
  if (pinned) return;  // which touches the memory
  for (torch::Tensor& slab : slabs_) slab.zero_();
}

uint64_t HostStaging::bytes_for(const std::vector<NamedPiece>& pieces) {
  const bool pinned = any_on_gpu(pieces);
  uint64_t total = 0;
  for (const int64_t slab : slab_sizes(sizes_of(pieces), pinned)) {
    total += pinned ? std::bit_ceil(static_cast<uint64_t>(slab)) : static_cast<uint64_t>(slab);
  }
  return total;
}

std::vector<NamedPiece> HostStaging::copy(const std::vector<NamedPiece>& pieces) {
  const torch::NoGradGuard no_grad;
  std::vector<NamedPiece> copies = pieces;
  prepare(sizes_of(pieces), any_on_gpu(pieces));
  ParallelCopy plain_copies;
  std::vector<torch::Device> devices;
  for (NamedPiece& piece : copies) {
    if (!is_staged(piece)) continue;
    const torch::Tensor source = piece.data.detach();
    const auto size = static_cast<int64_t>(source.nbytes());
    piece.data = take(size).view(source.scalar_type()).view(source.sizes());
    if (is_in_place(source)) {
      plain_copies.add(piece.data.data_ptr(), source.data_ptr(), static_cast<size_t>(size));
      continue;
    }
    piece.data.copy_(source, /*non_blocking=*/true);
    const torch::Device device = source.device();
    if (!device.is_cpu() && std::find(devices.begin(), devices.end(), device) == devices.end())
      devices.push_back(device);
  }
  plain_copies.run();
  wait_for_copies_from(devices);
  return copies;
}

}  // namespace millrace
