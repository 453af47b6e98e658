// Columns for a terminal, for the reports of `millrace inspect`.
#pragma once

#include <string>
#include <vector>

namespace millrace {

class TextTable {
 public:
  // A heading that begins with '>' aligns its column to the right.
  explicit TextTable(std::vector<std::string> headings);
  void add(std::vector<std::string> cells);
  // Two spaces before every line; empty for a table without rows. Cells are escaped: no file controls a terminal.
  std::string text() const;

 private:
  std::vector<bool> is_right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace millrace
