// Collects the cells of one column until its record batch is written. Seen only by arrow_*.cpp.
#pragma once

#include <arrow/array.h>
#include <arrow/array/builder_base.h>
#include <arrow/type.h>

#include <cstdint>
#include <memory>
#include <string>

#include "formats/arrow_writer.h"

namespace millrace {

class ArrowColumnWriter {
 public:
  // place: the file, for messages.
  ArrowColumnWriter(const ArrowColumnSpec& spec, std::string place);

  const std::shared_ptr<arrow::DataType>& type() const { return type_; }
  // Returns about how many bytes a cell takes. Throws DataError for a cell that does not fit, naming column and row.
  int64_t check(const ArrowCell& cell, int64_t row) const;
  // Requires a checked cell.
  void append(const ArrowCell& cell);
  std::shared_ptr<arrow::Array> finish();

 private:
  void append_json(arrow::ArrayBuilder& builder, const JsonType& type, const nlohmann::ordered_json& value);

  ArrowColumnSpec spec_;
  std::string place_;
  std::shared_ptr<arrow::DataType> type_;
  std::unique_ptr<arrow::ArrayBuilder> builder_;
};

}  // namespace millrace
