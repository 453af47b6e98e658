// A row that cannot be unpacked is a line with a text in the place of an object: what is wrong with the row, behind the
// name of the packed file, which may have moved since.
#include "language/unpacked_rows.h"

#include <array>
#include <string>
#include <system_error>

#include "base/clock.h"
#include "base/error.h"
#include "base/file_claim.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/work_in_order.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr int64_t kRowsUnpacked = 64;  // at a time
constexpr uint64_t kLinesVersion = 1;  // part of the name: changes with what the lines are for the same rows
constexpr double kPatience = 120;      // seconds

std::string line_of(const RowFile& packed, int64_t index) {
  json row;
  try {
    row = packed.row(index);
  } catch (const DataError& error) {
    row = std::string(error.what()).substr(1 + packed.path().string().size());
  }
  // Names of columns need not be UTF-8.
  return row.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

// Null where there is no file, or one that is not whole.
std::unique_ptr<RowFile> find_whole(const fs::path& path, int64_t rows) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return nullptr;
  try {
    auto file = std::make_unique<RowFile>(path, RowFileKind::kJson);
    if (file->size() == rows) {
      file->row(rows - 1);
      return file;
    }
  } catch (const Error&) {
    // It was cut, or is something else.
  }
  log_warning("[", path.string(), "] expected ", rows, " unpacked rows, got others: they are unpacked again");
  return nullptr;
}

void write_lines(const RowFile& packed, const fs::path& path, ThreadPool& pool) {
  FileWriter writer(path);
  const auto prepare = [&](int64_t begin, int64_t end) {
    return [&packed, begin, end, held = packed.hold(begin, end)] {
      std::string lines;
      for (int64_t row = begin; row < end; ++row) lines += line_of(packed, row);
      return lines;
    };
  };
  work_in_order(pool, packed.size(), kRowsUnpacked, prepare, [&](const std::string& lines) { writer.write(lines); });
  writer.close();
}

}  // namespace

std::unique_ptr<RowFile> unpacked_rows(const RowFile& packed, const fs::path& folder, ThreadPool& pool) {
  const std::array<uint64_t, 2> identity = {packed.digest(pool), kLinesVersion};
  const fs::path path = folder / (checksum_text(checksum64(identity.data(), sizeof identity)) + kUnpackedExtension);
  std::unique_ptr<RowFile> found;
  const auto is_there = [&] { return (found = find_whole(path, packed.size())) != nullptr; };
  make_file_once(path, "unpacks rows", kPatience, is_there, [&](FileClaim& claim) {
    const double start = now_seconds();
    write_lines(packed, claim.temporary(), pool);
    claim.commit();
    found = std::make_unique<RowFile>(path, RowFileKind::kJson);
    log_info("unpacked ", with_thousands(packed.size()), " rows of ", packed.path().string(), " in ",
             format_double("%.1f", now_seconds() - start), " s: ", path.string());
  });
  return found;
}

json row_of_unpacked(const RowFile& packed, json line) {
  if (line.is_string()) throw DataError("[" + packed.path().string() + line.get<std::string>());
  return line;
}

}  // namespace millrace
