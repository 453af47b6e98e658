// Converts libarrow's errors into ours. For arrow_*.cpp only: no other file includes Arrow's headers.
#pragma once

#include <arrow/result.h>
#include <arrow/status.h>

#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "formats/quote.h"

namespace millrace {

// Throws DataError that quotes libarrow's message, escaped: it may contain text from the file.
inline void check_arrow(const arrow::Status& status, const std::string& place, const char* expected) {
  if (!status.ok()) throw DataError(str("[", place, "] expected ", expected, ", got ", in_quotes(status.message())));
}

template <typename T>
T check_arrow(arrow::Result<T> result, const std::string& place, const char* expected) {
  check_arrow(result.status(), place, expected);
  return std::move(result).ValueUnsafe();
}

}  // namespace millrace
