// Rows of a Parquet file as JSON lines in a file of their own, where they are cheap to read in any order.
#pragma once

#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "language/row_file.h"

namespace millrace {

constexpr const char* kUnpackedExtension = ".rows.jsonl";

// The file is named after the content of the packed one. It is made where it is not there, or not whole, by the threads
// of the pool; other processes wait meanwhile, and take over from one that dies. Throws StorageError where the folder
// cannot be written to, has no room or no locks.
std::unique_ptr<RowFile> unpacked_rows(const RowFile& packed, const std::filesystem::path& folder, ThreadPool& pool);

// The packed row, from its line. Throws what packed.row() would.
nlohmann::ordered_json row_of_unpacked(const RowFile& packed, nlohmann::ordered_json line);

}  // namespace millrace
