#include "download/verified_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "download/safe_path.h"

namespace millrace {
namespace {

constexpr const char* kFileName = "verified";
constexpr uint64_t kMaxBytes = uint64_t{1} << 30;

template <typename Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

// A line: checksum, size, time and path, separated by single blanks; a path contains no line break.
VerifiedFiles VerifiedFiles::load(const Folder& state_folder) {
  VerifiedFiles files;
  const auto state = state_folder.state(kFileName);
  if (!state || !state->is_regular) return files;
  const std::string text = state_folder.read_text(kFileName, kMaxBytes);
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = rest.find('\n');
    files.is_torn_ = end == std::string_view::npos;
    if (files.is_torn_) break;
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    std::string_view fields[3];
    for (std::string_view& field : fields) {
      const size_t blank = line.find(' ');
      field = line.substr(0, blank);
      line.remove_prefix(blank == std::string_view::npos ? line.size() : blank + 1);
    }
    Entry entry{.checksum = std::string(fields[0]), .size = 0, .modified_ns = 0};
    if (!read_number(fields[1], entry.size) || !read_number(fields[2], entry.modified_ns)) continue;
    if (path_problem(line).empty()) files.entries_[std::string(line)] = std::move(entry);
  }
  return files;
}

std::string VerifiedFiles::checksum_of(const std::string& path, const FileState& state) const {
  const auto found = entries_.find(path);
  if (found == entries_.end()) return "";
  const Entry& entry = found->second;
  return entry.size == state.size && entry.modified_ns == state.modified_ns ? entry.checksum : "";
}

void VerifiedFiles::add(const Folder& state_folder, const std::string& path, const Checksum& checksum,
                        const FileState& state) {
  entries_[path] = {checksum.text(), state.size, state.modified_ns};
  const std::string line =
      str(is_torn_ ? "\n" : "", checksum.text(), " ", state.size, " ", state.modified_ns, " ", path, "\n");
  const Descriptor file = state_folder.open_file(kFileName, O_WRONLY | O_CREAT | O_APPEND);
  if (::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw StorageError(str("[", (state_folder.path() / kFileName).string(), "] expected room for ", line.size(),
                           " more bytes, got: ", std::strerror(errno)));
  }
}

}  // namespace millrace
