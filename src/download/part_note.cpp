#include "download/part_note.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxNoteBytes = 64 << 10;
constexpr size_t kMaxStem = 150;

}  // namespace

std::string part_stem(const std::string& path) {
  std::string name = file_name_of(path);
  if (name.size() > kMaxStem) {
    size_t cut = kMaxStem;
    while (cut > 0 && (static_cast<unsigned char>(name[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
    name.resize(cut);
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hash;
  for (uint64_t value = checksum64(path.data(), path.size()), i = 0; i < 16; ++i, value <<= 4)
    hash += kDigits[value >> 60];
  return name + "." + hash;
}

void write_part_note(const Folder& state_folder, const std::string& name, const PartNote& note) {
  const nlohmann::json json = {{"path", note.path},
                               {"checksum_kind", name_of(note.checksum.kind)},
                               {"checksum", note.checksum.hex},
                               {"etag", note.etag},
                               {"origin", note.origin}};
  // A header may hold any bytes.
  const std::string text = json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::string temporary = name + ".new";
  {
    const Descriptor file = state_folder.open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      throw StorageError(str("[", (state_folder.path() / name).string(), "] expected room for ", text.size(),
                             " more bytes, got: ", std::strerror(errno)));
    }
  }
  state_folder.rename(temporary, state_folder, name);
}

std::optional<PartNote> read_part_note(const Folder& state_folder, const std::string& name) {
  const auto state = state_folder.state(name);
  if (!state || !state->is_regular) return std::nullopt;
  try {
    const nlohmann::json json = parse_json<StorageError>(state_folder.read_text(name, kMaxNoteBytes), name);
    PartNote note;
    note.path = json.at("path").get<std::string>();
    const std::string kind = json.at("checksum_kind").get<std::string>();
    for (const ChecksumKind candidate : {ChecksumKind::kMd5, ChecksumKind::kSha256, ChecksumKind::kGitBlob}) {
      if (kind == name_of(candidate)) note.checksum.kind = candidate;
    }
    note.checksum.hex = json.at("checksum").get<std::string>();
    note.etag = json.at("etag").get<std::string>();
    note.origin = json.at("origin").get<std::string>();
    return note;
  } catch (const StorageError&) {
  } catch (const nlohmann::json::exception&) {
  }
  return std::nullopt;
}

}  // namespace millrace
