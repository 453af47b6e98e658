#include "base/lost_mapping.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>

#include "base/files.h"

namespace millrace {
namespace {

// Reads all of a file that is shortened once it is mapped.
void read_shortened(const std::filesystem::path& path) {
  report_lost_mappings();
  const MappedFile file(path);
  std::filesystem::resize_file(path, 0);
  volatile std::byte last = file.bytes().back();
  static_cast<void>(last);
}

TEST(LostMapping, ShortenedFilesAreNamed) {
  const std::filesystem::path folder = testing::TempDir() + "LostMapping";
  std::filesystem::create_directories(folder);
  const std::filesystem::path path = folder / "the weights.bin";
  write_file_atomically(path, std::string(100'000, 'x'));
  EXPECT_EXIT(read_shortened(path), testing::ExitedWithCode(5), "the weights.bin\\] expected a file that stays");
}

TEST(LostMapping, OtherBusErrorsEndTheProcess) {
  EXPECT_EXIT(
      {
        report_lost_mappings();
        ::raise(SIGBUS);
      },
      testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace millrace
