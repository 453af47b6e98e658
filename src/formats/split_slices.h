// `split: train[:95%]`: which rows of a data set are taken, as Hugging Face `datasets` reads it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct RowRange {
  int64_t begin = 0, end = 0;
  bool operator==(const RowRange&) const = default;
};

struct SplitSlice {
  std::string name;              // train
  std::vector<RowRange> ranges;  // in the order given
};

// name[from:to] with rows or percents, either of them left out or negative (counted from the end), several joined by +.
// One % makes both numbers percents, rounded to the nearest row, halves to the even one. Rows beyond the last are left
// out. num_rows: of the split. Throws ConfigError for another text and for splits of different names.
// place: of the text, for the message.
SplitSlice parse_split(std::string_view text, int64_t num_rows, const std::string& place = "split");
// The name alone, before the rows are counted.
std::string name_of_split(std::string_view text);

}  // namespace millrace
