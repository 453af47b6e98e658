#include "picture_sets/picture_headers.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/thread_pool.h"
#include "images/picture_header.h"

namespace millrace {
namespace {

struct HeaderResult {
  PictureHeader header;
  std::string problem;
};

HeaderResult look_at(const std::string& path) {
  try {
    const MappedFile file(path);
    return {read_picture_header(file.bytes(), path), ""};
  } catch (const Error& error) {
    return {{}, without_place(error.what())};
  }
}

std::vector<HeaderResult> look_at_all(const std::vector<PictureFile>& pictures, int num_threads) {
  ThreadPool pool(std::max(1, num_threads));
  std::vector<std::future<HeaderResult>> waiting;
  for (const PictureFile& picture : pictures) {
    waiting.push_back(pool.submit([&picture] { return look_at(picture.path); }));
  }
  std::vector<HeaderResult> results;
  for (auto& future : waiting) results.push_back(future.get());
  return results;
}

void note_oddities(const PictureHeader& header, const std::string& key, bool alpha_is_mask, Notices& notices) {
  if (header.orientation != 1) {
    notices.add("turned_picture",
                "expected upright pictures, got EXIF orientation: turned upright (sd-scripts would not)", key);
  }
  for (const std::string& note : header.notes) {
    if (alpha_is_mask && note == "transparent") continue;
    const char* taken = note == "animated"      ? "the first frame is taken"
                        : note == "CMYK"        ? "converted to RGB"
                        : note == "transparent" ? "the colours alone are taken"
                                                : "the high bytes are taken";
    notices.add(note,
                "expected RGB of 8 bits, got a picture that is " +
                    std::string(note == "16 bits per channel" ? "of " : "") + note + ": " + taken,
                key);
  }
}

// A size that a file states is that of the picture before it was edited, or before it is turned upright.
void compare_sizes(const PictureFile& file, const PictureHeader& header, Notices& notices) {
  const PictureSize size = {header.width, header.height}, turned = {header.height, header.width};
  if (!file.size || *file.size == size || (header.orientation >= 5 && *file.size == turned)) return;
  notices.add("other_size",
              "expected pictures of the sizes that " + file.caption_path + " states, got another: the picture's counts",
              file.key);
}

bool is_on_disk(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace

std::vector<PictureFile> with_sizes(std::vector<PictureFile> files, int num_threads, bool alpha_is_mask,
                                    Notices& notices) {
  std::vector<HeaderResult> results = look_at_all(files, num_threads);
  std::vector<PictureFile> sized;
  for (size_t i = 0; i < files.size(); ++i) {
    PictureFile& file = files[i];
    const auto& [header, problem] = results[i];
    if (problem.empty()) {
      compare_sizes(file, header, notices);
      note_oddities(header, file.key, alpha_is_mask, notices);
      file.size = {header.width, header.height};
      file.orientation = header.orientation;
    } else if (!file.size || is_on_disk(file.path)) {
      notices.add("unreadable_picture", problem + ": left out", file.key);
      continue;
    } else {
      notices.add("missing_picture",
                  "expected every picture that is listed, got no such file: its size is that of the list", file.key);
    }
    sized.push_back(std::move(file));
  }
  return sized;
}

}  // namespace millrace
