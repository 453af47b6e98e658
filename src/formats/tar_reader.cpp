#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "formats/quote.h"
#include "formats/tar.h"

namespace millrace {
namespace {

constexpr size_t kReadBlockBytes = 1 << 18;
constexpr size_t kTarBlockBytes = 512;

std::string name_of(archive_entry* entry) {
  // The first is null for a UTF-8 name that the locale cannot express.
  const char* name = archive_entry_pathname(entry);
  if (!name) name = archive_entry_pathname_utf8(entry);
  return name ? name : "";
}

// A tar archive ends in zero blocks. (If a member's content does too, a missing mark goes unnoticed.)
bool ends_in_zero_block(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (file.tellg() < static_cast<std::streamoff>(kTarBlockBytes)) return false;
  file.seekg(-static_cast<std::streamoff>(kTarBlockBytes), std::ios::end);
  std::array<char, kTarBlockBytes> block{};
  file.read(block.data(), block.size());
  return file && std::all_of(block.begin(), block.end(), [](char c) { return c == 0; });
}

}  // namespace

TarReader::TarReader(const std::filesystem::path& path, const TarReaderOptions& options)
    : path_(path), options_(options), archive_(archive_read_new()) {
  MILLRACE_CHECK(archive_ != nullptr);
  archive_read_support_format_tar(archive_);
  // An archive of nothing but the end mark, which libarchive's tar reader does not bid for.
  archive_read_support_format_empty(archive_);
  archive_read_support_filter_gzip(archive_);
  archive_read_support_filter_zstd(archive_);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored) && std::filesystem::file_size(path, ignored) == 0) {
    archive_read_free(archive_);
    throw DataError(str("[", path.string(), "] expected a tar archive, got an empty file"));
  }
  if (archive_read_open_filename(archive_, path.c_str(), kReadBlockBytes) == ARCHIVE_OK) return;
  const std::string message = archive_error_string(archive_) ? archive_error_string(archive_) : "no reason given";
  archive_read_free(archive_);
  if (::access(path.c_str(), R_OK) != 0 || std::filesystem::is_directory(path)) {
    throw StorageError(str("[", path.string(), "] expected a readable tar archive, got: ", message));
  }
  throw DataError(str("[", path.string(), "] expected a tar archive, got: ", message));
}

TarReader::~TarReader() {
  archive_read_free(archive_);
}

void TarReader::fail(const std::string& where, const std::string& expected, const std::string& got) const {
  const std::string member = member_.name.empty() ? "" : where + in_quotes(member_.name);
  throw DataError(str("[", path_.string(), ", byte ", archive_filter_bytes(archive_, 0), member, "] expected ",
                      expected, ", got ", got));
}

std::optional<TarEntry> TarReader::next() {
  while (true) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(archive_, &entry);
    if (status == ARCHIVE_EOF) {
      // A truncated compressed archive has already failed.
      has_end_mark_ = archive_filter_code(archive_, 0) != ARCHIVE_FILTER_NONE || ends_in_zero_block(path_);
      if (!has_end_mark_) {
        log_warning("[", path_.string(), ", byte ", archive_filter_bytes(archive_, 0),
                    "] expected the end mark of a tar archive, got the end of the file; it may be cut short");
      }
      return std::nullopt;
    }
    if (status < ARCHIVE_WARN) {
      const char* reason = archive_error_string(archive_);
      fail(", after member ", "the header of a tar member", reason ? reason : "a damaged archive");
    }
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) continue;
    member_ = {name_of(entry), static_cast<uint64_t>(std::max<int64_t>(archive_entry_size(entry), 0)),
               static_cast<uint64_t>(archive_read_header_position(archive_))};
    return member_;
  }
}

void TarReader::read(std::string& content) {
  content.clear();
  if (member_.size > options_.max_member_bytes) {
    fail(", member ", str("at most ", options_.max_member_bytes, " bytes"), str(member_.size));
  }
  // A damaged header may claim any size, so memory grows only with the data read.
  while (content.size() < member_.size) {
    const size_t before = content.size();
    const size_t piece = std::min<uint64_t>(member_.size - before, std::max<size_t>(before, size_t{1} << 20));
    content.resize(before + piece);
    const la_ssize_t count = archive_read_data(archive_, content.data() + before, piece);
    if (count < 0) {
      const char* reason = archive_error_string(archive_);
      fail(", member ", str(member_.size, " bytes"), reason ? reason : "a damaged archive");
    }
    content.resize(before + static_cast<size_t>(count));
    if (count == 0) fail(", member ", str(member_.size, " bytes"), str(before));
  }
}

}  // namespace millrace
