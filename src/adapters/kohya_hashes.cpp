#include "adapters/kohya_hashes.h"

#include <algorithm>
#include <vector>

#include "base/file_reader.h"
#include "base/files.h"
#include "base/text.h"
#include "download/checksum.h"
#include "formats/safetensors_layout.h"

namespace millrace {
namespace {

constexpr uint64_t kWindowBegin = 0x100000, kWindowEnd = kWindowBegin + 0x10000;
constexpr size_t kShortDigits = 8;

// SHA-256 of the bytes of a stream that lie in the window.
class WindowHash {
 public:
  void update(std::span<const std::byte> bytes) {
    const uint64_t begin = std::max(position_, kWindowBegin), end = std::min(position_ + bytes.size(), kWindowEnd);
    if (begin < end) sha_.update(bytes.subspan(begin - position_, end - begin));
    position_ += bytes.size();
  }
  std::string finish() { return sha_.finish().hex.substr(0, kShortDigits); }

 private:
  ChecksumStream sha_{ChecksumKind::kSha256, 0};
  uint64_t position_ = 0;
};

}  // namespace

KohyaHashes kohya_hashes(std::span<const TensorView> tensors, const TensorBytes& bytes_of,
                         const SafetensorsMetadata& metadata) {
  SafetensorsMetadata hashed;
  std::copy_if(metadata.begin(), metadata.end(), std::inserter(hashed, hashed.end()),
               [](const auto& entry) { return starts_with(entry.first, "ss_"); });
  const SafetensorsLayout layout = lay_out_safetensors(tensors, hashed, "LoRA metadata");
  ChecksumStream whole(ChecksumKind::kSha256, 0);
  WindowHash window;
  const uint64_t header_bytes = layout.header.size();
  window.update(std::as_bytes(std::span(&header_bytes, 1)));
  window.update(std::as_bytes(std::span(layout.header)));
  for (const size_t i : layout.order) {
    const std::span<const std::byte> bytes = bytes_of(i);
    whole.update(bytes);
    window.update(bytes);
  }
  return {whole.finish().hex, window.finish()};
}

std::string kohya_model_hash(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) return "NOFILE";
  const MappedFile file(path);
  WindowHash window;
  window.update(file.bytes());
  return window.finish();
}

std::string kohya_file_sha256(const std::filesystem::path& path, const std::stop_token& stop) {
  if (!std::filesystem::is_regular_file(path)) return "NOFILE";
  // Not mapped: a mapped file that is cut meanwhile ends the process.
  const FileReader file(path);
  ChecksumStream sha(ChecksumKind::kSha256, file.size());
  std::vector<char> piece(size_t{4} << 20);
  for (uint64_t begin = 0; begin < file.size(); begin += piece.size()) {
    if (stop.stop_requested()) return "";
    const auto bytes = std::span(piece).first(std::min<uint64_t>(piece.size(), file.size() - begin));
    file.read(begin, bytes);
    sha.update(std::as_bytes(bytes));
  }
  return sha.finish().hex;
}

}  // namespace millrace
