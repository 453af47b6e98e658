#include "checkpoint/staging.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/error.h"

namespace millrace {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;

void wait_for_copies_from(const std::vector<torch::Device>& devices) {
  for (const torch::Device& device : devices) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeStream(guard.getStream(device));
  }
}

int64_t aligned(int64_t size, int64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

// In huge pages where the system has them: taking 4 KiB at a time costs more than the copy itself.
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
  void run() const {
    at::parallel_for(0, static_cast<int64_t>(chunks_.size()), 1, [this](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Chunk& chunk = chunks_[static_cast<size_t>(i)];
        std::memcpy(chunk.target, chunk.source, chunk.size);
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

bool any_on_gpu(const std::vector<NamedPiece>& pieces) {
  return std::any_of(pieces.begin(), pieces.end(), [](const NamedPiece& piece) { return !piece.data.is_cpu(); });
}

}  // namespace

void HostStaging::reserve_bytes(int64_t num_bytes, bool pinned) {
  if (memory_.defined() && memory_.numel() >= num_bytes && memory_.is_pinned() == pinned) return;
  memory_ = torch::Tensor();  // before the new one is taken
  memory_ =
      pinned ? torch::empty({num_bytes}, torch::dtype(torch::kUInt8).pinned_memory(true)) : host_memory(num_bytes);
}

void HostStaging::reserve(const std::vector<NamedPiece>& pieces) {
  int64_t num_bytes = 0;
  for (const NamedPiece& piece : pieces) num_bytes += aligned(static_cast<int64_t>(piece.data.nbytes()), kAlignment);
  if (num_bytes == 0) return;
  reserve_bytes(num_bytes, any_on_gpu(pieces));
  memory_.zero_();
}

std::vector<NamedPiece> HostStaging::copy(const std::vector<NamedPiece>& pieces, bool keep_in_place) {
  const torch::NoGradGuard no_grad;
  std::vector<NamedPiece> copies = pieces;
  const auto stays = [&](const NamedPiece& piece) { return keep_in_place && is_in_place(piece.data); };
  int64_t num_bytes = 0;
  for (const NamedPiece& piece : pieces) {
    if (!stays(piece)) num_bytes += aligned(static_cast<int64_t>(piece.data.nbytes()), kAlignment);
  }
  if (num_bytes > 0) reserve_bytes(num_bytes, any_on_gpu(pieces));
  ParallelCopy plain_copies;
  std::vector<torch::Device> devices;
  int64_t offset = 0;
  for (NamedPiece& piece : copies) {
    const torch::Tensor source = piece.data.detach();
    const auto size = static_cast<int64_t>(source.nbytes());
    if (stays(piece) || size == 0) {
      piece.data = source.contiguous();
      continue;
    }
    piece.data = memory_.narrow(0, offset, size).view(source.scalar_type()).view(source.sizes());
    offset += aligned(size, kAlignment);
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
