// Writes Arrow stream files as Hugging Face `datasets` does: data-*.arrow with the features in the schema's metadata.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/json_type.h"

namespace millrace {

class ArrowFile;

// kImage: struct<bytes: binary, path: string>, the Image feature of `datasets`. kJson: values of one JSON type as
// Arrow's own numbers, texts, lists and structs. kCopy: as in another file.
enum class ArrowType { kString, kBinary, kInt32, kInt64, kFloat64, kBool, kImage, kJson, kCopy };
struct ArrowColumnSpec {
  std::string name;
  ArrowType type;
  JsonType json = {};                            // of kJson
  std::shared_ptr<const ArrowFile> source = {};  // of kCopy: a file with a column of this name
};
// A cell of another file, whose column has the same type as this one.
struct ArrowSourceCell {
  const ArrowFile* file;
  int column;
  int64_t row;
};
// monostate: null. Bytes for an image are its encoded file; text for an image is refused. kBool takes 0 or 1.
using ArrowCell = std::variant<std::monostate, std::string_view, std::span<const std::byte>, int64_t, double,
                               const nlohmann::ordered_json*, ArrowSourceCell>;

// The same rows give the same bytes. Record batches hold at most 1000 rows and, unless one row is larger, 256 MiB.
class ArrowStreamWriter {
 public:
  // Written under a temporary name. Throws StorageError, as all functions do when writing fails.
  ArrowStreamWriter(const std::filesystem::path& path, const std::vector<ArrowColumnSpec>& columns);
  ~ArrowStreamWriter();
  ArrowStreamWriter(const ArrowStreamWriter&) = delete;
  ArrowStreamWriter& operator=(const ArrowStreamWriter&) = delete;

  // Copies the cells, one for each column. Throws DataError for a cell of another type or of 2 GiB, and for text that
  // is not UTF-8; such a row is not written, and the writer stays usable.
  void add_row(const std::vector<ArrowCell>& cells);
  // Completes, fsyncs, renames. Without it no file is left under the name.
  void close();
  int64_t rows() const;
  uint64_t bytes() const;  // in the file so far; after close(): its size

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// {"key": {"dtype": "string", "_type": "Value"}, ...}: how `datasets` describes the columns. null where a column is
// copied from a file without a description of it: `datasets` then uses the types of the files.
nlohmann::ordered_json hf_features(const std::vector<ArrowColumnSpec>& columns);

}  // namespace millrace
