#include "formats/pickle.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {

namespace {

// Meta's own files of a Llama model, which divide the matrices among them.
bool is_of_meta(const std::filesystem::path& path) {
  return starts_with(path.filename().string(), "consolidated.") && path.extension() == ".pth";
}

// With the program that knows how the parts join; transformers has it up to its version 4.
std::string conversion_of_meta(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  int64_t parts = 0;
  std::error_code ignored;
  for (std::filesystem::directory_iterator entry(folder, ignored), end; !ignored && entry != end;
       entry.increment(ignored)) {
    parts += is_of_meta(entry->path()) ? 1 : 0;
  }
  return str(
      "the same weights as Hugging Face has them, by `millrace download hf:OWNER/NAME`; or convert Meta's files "
      "where you trust them: pip install 'transformers<5' torch tiktoken blobfile && python -m "
      "transformers.models.llama.convert_llama_weights_to_hf --input_dir '",
      folder.string(), "' --output_dir converted --llama_version 3.1 --num_shards ", std::max<int64_t>(parts, 1));
}

std::string conversion_of(const std::filesystem::path& path) {
  if (is_of_meta(path)) return conversion_of_meta(path);
  return str("converting it where you trust it: python -c \"import torch, safetensors.torch as s; d = torch.load('",
             path.filename().string(),
             "', weights_only=True, map_location='cpu'); s.save_file({k: v.contiguous().clone() for k, v in "
             "d.get('state_dict', d).items()}, 'weights.safetensors')\"");
}

}  // namespace

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
                       by_name ? "by its name" : "by its first bytes", ", which can run any code when it is read (try ",
                       conversion_of(path), ")"));
}

}  // namespace millrace
