#include "formats/pickle.h"

#include <array>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {

bool has_pickle_extension(const std::filesystem::path& path) {
  static const std::set<std::string> kExtensions = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"};
  return kExtensions.count(to_lower(path.extension().string())) > 0;
}

bool has_pickle_content(std::string_view first_bytes) {
  if (starts_with(first_bytes, std::string_view("PK\x03\x04", 4))) return true;
  // A safetensors header's length may begin with the same bytes; it is below 2^32, and the header begins with a brace.
  const bool looks_like_safetensors =
      first_bytes.size() >= 9 && first_bytes.substr(4, 4) == std::string_view("\0\0\0\0", 4) && first_bytes[8] == '{';
  // PROTO opcode, the protocol's number, another opcode.
  return !looks_like_safetensors && first_bytes.size() >= 3 && first_bytes[0] == '\x80' && first_bytes[1] >= 2 &&
         first_bytes[1] <= 5 && first_bytes[2] != '\0';
}

void refuse_pickle(const std::filesystem::path& path) {
  std::array<char, 16> first{};
  std::ifstream file(path, std::ios::binary);
  file.read(first.data(), first.size());
  const std::string_view first_bytes(first.data(), static_cast<size_t>(file.gcount()));
  const bool by_name = has_pickle_extension(path);
  if (!by_name && !has_pickle_content(first_bytes)) return;
  throw ModelError(str("[", path.string(), "] expected safetensors, got a pickle ",
                       by_name ? "by its name" : "by its first bytes",
                       ", which can run any code when it is read (try converting it where you trust it: python -c \"",
                       "import torch, safetensors.torch as s; d = torch.load('", path.filename().string(),
                       "', weights_only=True, map_location='cpu'); s.save_file({k: v.contiguous().clone() for k, v in ",
                       "d.get('state_dict', d).items()}, 'weights.safetensors')\")"));
}

}  // namespace millrace
