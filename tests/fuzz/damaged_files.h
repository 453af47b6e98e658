// What the tests of damaged files share: a target is a reader with samples that it reads; the files are these samples,
// changed at random or truncated.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "formats/inspect/inspect.h"

namespace millrace {

struct FuzzTarget {
  const char* name;
  int mutations;
  std::vector<std::string> (*samples)();
  // Reads or throws one of base/error.h; reports what must not be with ASSERT_*.
  void (*read)(const std::string&);
};

// Every file is read or refused, in memory that the file's size bounds; both must happen.
void fuzz_mutations(const FuzzTarget& target);
// The samples cut after each of their bytes.
void fuzz_truncations(const FuzzTarget& target);

// A file in memory with a name.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& text);
  ~MemoryFile();
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
// Reads every byte, so that a view out of bounds is seen by the sanitizer.
uint64_t touch(std::span<const std::byte> bytes);
// What write leaves under the path it is given.
std::string file_of(const std::function<void(const std::filesystem::path&)>& write);
// The report of `millrace inspect`, as JSON and as text.
void check_report(Report (*inspect)(const std::filesystem::path&, const InspectOptions&), const std::string& text);

}  // namespace millrace
