// Collects all problems of a configuration, so that the user sees them at once.
#pragma once

#include <string>
#include <vector>

namespace millrace {

class Problems {
 public:
  // `[place] message`
  void add(const std::string& place, const std::string& message) { lines_.push_back("[" + place + "] " + message); }
  void add_line(const std::string& line) { lines_.push_back(line); }
  bool empty() const { return lines_.empty(); }
  // Throws ConfigError with one line per problem, if there are any.
  void throw_if_any() const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace millrace
