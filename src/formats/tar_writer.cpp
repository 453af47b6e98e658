#include <archive.h>
#include <archive_entry.h>

#include "base/error.h"
#include "base/log.h"
#include "formats/quote.h"
#include "formats/tar.h"

namespace millrace {

ssize_t TarWriter::write_piece(archive*, void* self, const void* data, size_t size) {
  auto* writer = static_cast<TarWriter*>(self);
  try {
    writer->file_->writer().write(data, size);
    return static_cast<ssize_t>(size);
  } catch (...) {  // libarchive is C: exceptions must not pass through it
    writer->write_error_ = std::current_exception();
    return -1;
  }
}

void TarWriter::check(int status) const {
  if (write_error_) std::rethrow_exception(write_error_);
  if (status >= ARCHIVE_WARN) return;
  throw StorageError(
      str("[", path_.string(), "] expected a tar archive that can be written, got: ", archive_error_string(archive_)));
}

TarWriter::TarWriter(const std::filesystem::path& path) : path_(path), archive_(archive_write_new()) {
  MILLRACE_CHECK(archive_ != nullptr);
  try {
    file_.emplace(path);
    check(archive_write_set_format_pax_restricted(archive_));
    check(archive_write_set_bytes_in_last_block(archive_, 1));
    check(archive_write_open(archive_, this, nullptr, &TarWriter::write_piece, nullptr));
  } catch (...) {
    archive_write_free(archive_);
    throw;
  }
}

TarWriter::~TarWriter() {
  // Only closing frees all of libarchive's memory. file_ discards the output unless close() was called.
  if (archive_) {
    archive_write_close(archive_);
    archive_write_free(archive_);
  }
}

void TarWriter::add(const std::string& name, std::string_view content) {
  MILLRACE_CHECK(archive_ && !name.empty());
  struct Free {
    void operator()(archive_entry* entry) const { archive_entry_free(entry); }
  };
  const std::unique_ptr<archive_entry, Free> entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), 0, 0);
  archive_entry_set_uid(entry.get(), 0);
  archive_entry_set_gid(entry.get(), 0);
  check(archive_write_header(archive_, entry.get()));
  bytes_written_ += 512 + (content.size() + 511) / 512 * 512;
  while (!content.empty()) {
    const la_ssize_t count = archive_write_data(archive_, content.data(), content.size());
    check(count < 0 ? ARCHIVE_FATAL : ARCHIVE_OK);
    MILLRACE_CHECK(count > 0);
    content.remove_prefix(static_cast<size_t>(count));
  }
}

void TarWriter::close() {
  MILLRACE_CHECK(archive_ != nullptr);
  const int status = archive_write_close(archive_);
  check(status);
  archive_write_free(archive_);
  archive_ = nullptr;
  file_->commit();
}

}  // namespace millrace
