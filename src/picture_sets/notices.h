// What is odd about a data set: counted, with the first places named.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct Notice {
  std::string kind;                 // "no_caption", "unreadable_picture": for programs
  std::string message;              // "expected a caption for every picture, got none for 3 (...)"
  std::vector<std::string> places;  // files, all of them
  bool is_fatal = false;            // training refuses the data set
};

class Notices {
 public:
  // A place more for the notice of this kind and message.
  void add(const std::string& kind, const std::string& message, const std::string& place, bool is_fatal = false);
  const std::vector<Notice>& all() const { return notices_; }

 private:
  std::vector<Notice> notices_;
};

// "[first file, second file and 3 more] message", control characters escaped.
std::string notice_text(const Notice& notice, size_t max_places = 3);

}  // namespace millrace
