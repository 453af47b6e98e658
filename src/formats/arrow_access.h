// The contents of an ArrowFile for arrow_*.cpp. No other file includes this.
#pragma once

#include <arrow/array.h>

#include <memory>

#include "formats/arrow_file.h"

namespace millrace {

struct ArrowAccess {
  static std::shared_ptr<arrow::DataType> type(const ArrowFile& file, int column);
  // The part of the column that holds the row, with every value checked.
  static std::shared_ptr<arrow::Array> array(const ArrowFile& file, int column, int64_t row, int64_t& row_in_array);
};

}  // namespace millrace
