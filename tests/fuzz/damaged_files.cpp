#include "damaged_files.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "memory_watch.h"
#include "mutator.h"

namespace millrace {

namespace fs = std::filesystem;

MemoryFile::MemoryFile(const std::string& text) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  if (::write(descriptor_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
}
MemoryFile::~MemoryFile() {
  ::close(descriptor_);
}

uint64_t touch(std::span<const std::byte> bytes) {
  return checksum64(bytes.data(), bytes.size());
}

std::string file_of(const std::function<void(const fs::path&)>& write) {
  const fs::path path = fs::temp_directory_path() / ("millrace-fuzz-" + std::to_string(::getpid()));
  write(path);
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  fs::remove(path);
  return text;
}

void check_report(Report (*inspect)(const fs::path&, const InspectOptions&), const std::string& text) {
  const MemoryFile file(text);
  const Report report = inspect(file.path(), {.stats = true});
  ASSERT_FALSE(report.dump().empty()) << "JSON refuses text that is not UTF-8";
  for (const char c : report_text(report)) {
    ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << "a control character for the terminal";
  }
}

void fuzz_mutations(const FuzzTarget& target) {
  set_console_log_level(LogLevel::kError);  // thousands of archives without an end mark
  const size_t peak_before = peak_resident_bytes();
  const std::vector<std::string> samples = target.samples();
  for (const std::string& sample : samples) ASSERT_NO_THROW(target.read(sample)) << "the samples themselves are good";

  // The corpus grows by what could still be read, so that damage adds up.
  std::vector<std::string> corpus = samples;
  Mutator mutator(20240229);
  int refused = 0, accepted = 0;
  for (int i = 0; i < target.mutations; ++i) {
    const std::string text = mutator.mutate(corpus);
    const MemoryWatch watch;
    try {
      target.read(text);
      ++accepted;
      if (corpus.size() < 64 && text.size() < 1 << 16) corpus.push_back(text);
    } catch (const Error& error) {
      ++refused;
      ASSERT_GT(std::string(error.what()).size(), 10u);
    }
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << target.name << " mutation " << i;
    // Four times the member limit of the tar reader; the others stay far below.
    ASSERT_LT(watch.peak_bytes(), (size_t{4} << 20) + 64 * text.size()) << target.name << " mutation " << i;
  }
  // C libraries do not ask operator new. Targets before this one have raised the peak already: under a sanitizer each
  // leaves memory behind. Its quarantine alone takes a quarter of the limit.
  EXPECT_LT(peak_resident_bytes() - peak_before, size_t{1} << 30);
  // Both ways are taken, or nothing is tested.
  EXPECT_GT(refused, target.mutations / 20);
  EXPECT_GT(accepted, target.mutations / 100);
}

void fuzz_truncations(const FuzzTarget& target) {
  set_console_log_level(LogLevel::kError);
  for (const std::string& sample : target.samples()) {
    for (size_t size = 0; size < sample.size(); ++size) {
      try {
        target.read(sample.substr(0, size));
      } catch (const Error&) {
      }
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << target.name << " cut to " << size;
    }
  }
}

}  // namespace millrace
