#include "formats/weight_fingerprint.h"

#include <span>
#include <vector>

#include "base/files.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr size_t kWhole = 1 << 20;
constexpr size_t kPlaces = 16;
constexpr size_t kPlaceBytes = kWhole / kPlaces;

uint64_t checksum_of(std::span<const std::byte> bytes) {
  return checksum64(bytes.data(), bytes.size());
}

}  // namespace

uint64_t weight_fingerprint(const WeightStore& store) {
  std::vector<uint64_t> sums;
  for (const TensorView& tensor : store.tensors()) {
    std::string description = str(tensor.name, "\n", static_cast<int>(tensor.dtype));
    if (tensor.block_format != BlockFormat::kNone) description += stored_type_name(tensor);
    for (const int64_t size : tensor.shape) description += str("\n", size);
    sums.push_back(checksum64(description.data(), description.size()));
    if (tensor.bytes.size() <= kWhole) {
      sums.push_back(checksum_of(tensor.bytes));
      continue;
    }
    for (size_t i = 0; i < kPlaces; ++i) {
      const size_t begin = (tensor.bytes.size() - kPlaceBytes) / (kPlaces - 1) * i;
      sums.push_back(checksum_of(tensor.bytes.subspan(begin, kPlaceBytes)));
    }
  }
  return checksum64(sums.data(), sums.size() * sizeof(uint64_t));
}

}  // namespace millrace
