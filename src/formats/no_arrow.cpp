// Replaces arrow_*.cpp in builds without libarrow.
#include "base/error.h"
#include "base/log.h"
#include "formats/arrow_file.h"
#include "formats/arrow_writer.h"
#include "formats/row_table.h"

namespace millrace {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path) {
  throw DataError(str("[", path.string(), "] expected a millrace built with libarrow, got one without ",
                      "(try scripts/setup.sh, which installs pyarrow, and build again)"));
}

}  // namespace

struct ArrowFile::Impl {};
ArrowFile::ArrowFile(const std::filesystem::path& path) {
  fail(path);
}
ArrowFile::~ArrowFile() = default;
ArrowFile::ArrowFile(ArrowFile&&) noexcept = default;
ArrowFile& ArrowFile::operator=(ArrowFile&&) noexcept = default;
// No object exists, so nothing below is ever called.
const std::filesystem::path& ArrowFile::path() const {
  fail("");
}
int64_t ArrowFile::num_rows() const {
  fail("");
}
int64_t ArrowFile::num_batches() const {
  fail("");
}
const std::vector<ArrowColumn>& ArrowFile::columns() const {
  fail("");
}
int ArrowFile::find_column(const std::string&) const {
  fail("");
}
const std::string& ArrowFile::damage() const {
  fail("");
}
std::string ArrowFile::metadata(const std::string&) const {
  fail("");
}
std::optional<std::span<const std::byte>> ArrowFile::bytes(int, int64_t) const {
  fail("");
}
std::optional<int64_t> ArrowFile::integer(int, int64_t) const {
  fail("");
}
bool ArrowFile::is_null(int, int64_t) const {
  fail("");
}

struct ArrowStreamWriter::Impl {};
ArrowStreamWriter::ArrowStreamWriter(const std::filesystem::path& path, const std::vector<ArrowColumnSpec>&) {
  fail(path);
}
ArrowStreamWriter::~ArrowStreamWriter() = default;
void ArrowStreamWriter::add_row(const std::vector<ArrowCell>&) {
  fail("");
}
void ArrowStreamWriter::close() {
  fail("");
}
int64_t ArrowStreamWriter::rows() const {
  fail("");
}
uint64_t ArrowStreamWriter::bytes() const {
  fail("");
}

struct RowTable::Impl {};
RowTable::RowTable(const std::filesystem::path& path) {
  fail(path);
}
RowTable::~RowTable() = default;
RowTable::RowTable(RowTable&&) noexcept = default;
int64_t RowTable::size() const {
  fail("");
}
bool RowTable::is_packed() const {
  fail("");
}
std::shared_ptr<const void> RowTable::hold(int64_t) const {
  fail("");
}
nlohmann::ordered_json RowTable::row(int64_t) const {
  fail("");
}

}  // namespace millrace
