#include "picture_sets/set_identity.h"

#include <algorithm>
#include <future>

#include "base/error.h"
#include "base/files.h"
#include "base/philox.h"
#include "base/printable.h"
#include "base/thread_pool.h"

namespace millrace {
namespace {

using SortedJson = nlohmann::json;  // as in a state that was saved

constexpr size_t kMostListed = 4096;
// What says where files lie, not what they are.
constexpr const char* kPlaces[] = {"image_dir", "metadata_file", "conditioning_data_dir", "cache_info"};

uint64_t content_of(const std::string& path) {
  try {
    const MappedFile file(path);
    return checksum64(file.bytes().data(), file.bytes().size());
  } catch (const Error&) {
    return 0;  // found again, and named, where the picture is loaded
  }
}

using Waiting = std::vector<std::future<uint64_t>>;

std::vector<uint64_t> wait_for(Waiting& waiting) {
  std::vector<uint64_t> sums;
  for (std::future<uint64_t>& sum : waiting) sums.push_back(sum.get());
  return sums;
}

PartContents read_part(const PicturePart& part, bool has_masks, ThreadPool& pool) {
  Waiting pictures, masks;
  for (const Picture& picture : part.pictures) {
    pictures.push_back(pool.submit([&picture] { return content_of(picture.file.path); }));
    if (has_masks) masks.push_back(pool.submit([&picture] { return content_of(picture.file.mask_path); }));
  }
  PartContents contents;
  contents.pictures = wait_for(pictures);
  contents.masks = wait_for(masks);
  return contents;
}

uint64_t text_sum(const std::string& text) {
  return checksum64(text.data(), text.size());
}

// All that decides how a picture is trained on, but for the options of its data set.
uint64_t picture_sum(const Picture& picture, const PartContents& contents, size_t number) {
  const BucketChoice& choice = picture.choice;
  const uint64_t mask = contents.masks.empty() ? 0 : contents.masks[number];
  uint64_t sum = mix64(contents.pictures[number]);
  for (const uint64_t part :
       {mask, text_sum(picture.file.caption), static_cast<uint64_t>(picture.subset),
        static_cast<uint64_t>(picture.is_reg), static_cast<uint64_t>(picture.num_repeats),
        static_cast<uint64_t>(choice.bucket.width), static_cast<uint64_t>(choice.bucket.height),
        static_cast<uint64_t>(choice.resized.width), static_cast<uint64_t>(choice.resized.height)}) {
    sum = mix64(sum ^ part);
  }
  if (!picture.face) return sum;
  const Face& face = *picture.face;
  for (const int64_t part : {face.x, face.y, face.width, face.height}) sum = mix64(sum ^ static_cast<uint64_t>(part));
  return sum;
}

SortedJson options_without_places(const DatasetOptions& options) {
  SortedJson json = options_json(options);
  for (SortedJson& subset : json["subsets"]) {
    for (const char* place : kPlaces) subset.erase(place);
  }
  return json;
}

// The first member that differs, as `num_repeats 10, got 3`.
std::string difference(const SortedJson& saved, const SortedJson& now, const std::string& name) {
  if (saved == now) return "";
  if (saved.is_object() && now.is_object()) {
    for (const auto& [key, value] : saved.items()) {
      const std::string found = difference(value, now.contains(key) ? now[key] : SortedJson(), key);
      if (!found.empty()) return found;
    }
  }
  if (saved.is_array() && now.is_array() && saved.size() == now.size()) {
    for (size_t i = 0; i < saved.size(); ++i) {
      const std::string found = difference(saved[i], now[i], name);
      if (!found.empty()) return found;
    }
  }
  if (saved.is_array() && now.is_array() && saved.size() != now.size()) {
    return std::to_string(saved.size()) + " " + name + ", got " + std::to_string(now.size());
  }
  return name + " " + saved.dump() + ", got " + now.dump();
}

std::string picture_name(const std::vector<PictureSet>& sets, size_t number) {
  for (const PictureSet& set : sets) {
    if (number < set.train.pictures.size()) return set.train.pictures[number].file.key;
    number -= set.train.pictures.size();
  }
  return "?";
}

}  // namespace

std::vector<SetContents> read_contents(const std::vector<PictureSet>& sets, int num_threads) {
  ThreadPool pool(std::max(1, num_threads));
  std::vector<SetContents> contents;
  for (const PictureSet& set : sets) {
    const bool has_masks = set.options.style == CaptionStyle::kMasks;
    contents.push_back({read_part(set.train, has_masks, pool), read_part(set.validation, has_masks, pool)});
  }
  return contents;
}

SortedJson identity_of(const std::vector<PictureSet>& sets, const std::vector<SetContents>& contents) {
  MILLRACE_CHECK(sets.size() == contents.size());
  SortedJson options = SortedJson::array();
  std::vector<uint64_t> sums;
  for (size_t i = 0; i < sets.size(); ++i) {
    options.push_back(options_without_places(sets[i].options));
    const std::vector<Picture>& pictures = sets[i].train.pictures;
    for (size_t number = 0; number < pictures.size(); ++number) {
      sums.push_back(picture_sum(pictures[number], contents[i].train, number));
    }
  }
  SortedJson identity = {{"options", std::move(options)},
                         {"num_pictures", sums.size()},
                         {"checksum", checksum_text(checksum64(sums.data(), sums.size() * sizeof(uint64_t)))}};
  if (sums.size() > kMostListed) return identity;
  identity["pictures"] = SortedJson::array();
  for (const uint64_t sum : sums) identity["pictures"].push_back(sum >> 32);
  return identity;
}

void check_same_identity(const SortedJson& saved, const SortedJson& now, const std::vector<PictureSet>& sets,
                         const std::string& place) {
  const auto fail = [&](const std::string& expected) {
    throw DataError("[" + printable(place) + "] expected the data set that the run was started with, with " + expected +
                    " (try the data set as it was, or another job.dump_folder for a new run)");
  };
  for (const char* key : {"options", "num_pictures", "checksum"}) {
    if (!saved.contains(key)) fail(std::string(key) + " in its position, got none");
  }
  const std::string option = difference(saved["options"], now["options"], "datasets");
  if (!option.empty()) fail(option);
  if (saved["num_pictures"] != now["num_pictures"]) {
    fail(saved["num_pictures"].dump() + " pictures, got " + now["num_pictures"].dump());
  }
  if (saved["checksum"] == now["checksum"]) return;
  const SortedJson before = saved.value("pictures", SortedJson::array()),
                   pictures = now.value("pictures", SortedJson::array());
  for (size_t i = 0; i < std::min(before.size(), pictures.size()); ++i) {
    if (before[i] != pictures[i]) {
      fail("the same pictures and captions, got others from " + printable(picture_name(sets, i)) + " on");
    }
  }
  fail("the same pictures and captions, got others");
}

}  // namespace millrace
