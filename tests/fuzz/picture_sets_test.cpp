// Damaged data set files, metadata, prompts and bitmaps are read or refused.
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "damaged_files.h"
#include "images/bmp.h"
#include "images/picture_header.h"
#include "picture_sets/metadata_file.h"
#include "picture_sets/read_document.h"
#include "picture_sets/resolve.h"
#include "picture_sets/sample_prompts.h"

namespace millrace {
namespace {

std::vector<std::string> toml_samples() {
  return {
      "[general]\nenable_bucket = true\nkeep_tokens = 2\n[[datasets]]\nresolution = [512, 768]\nbatch_size = 4\n"
      "[[datasets.subsets]]\nimage_dir = \"a\"\nface_crop_aug_range = [1.0, 3.0]\ncaption_prefix = \"p\"\n"};
}

std::vector<std::string> json_samples() {
  return {R"({"general": {"enable_bucket": true}, "datasets": [{"resolution": 512, "bucket_reso_steps": 32,
"subsets": [{"image_dir": "a", "num_repeats": 3, "custom_attributes": {"x": [1, 2.5, null]}}]}]})"};
}

std::vector<std::string> metadata_samples() {
  return {R"({"a.png": {"caption": "a cat", "tags": "x, y", "image_size": [512, 768]}, "b.png": {"tags": "z"}})"};
}

std::vector<std::string> prompt_samples() {
  return {R"(["a dog --w 640 --d 3 --s 5", {"prompt": "b", "width": 512, "scale": 2.0}, {"width": 256}])"};
}

std::vector<std::string> bitmap_samples() {
  std::string file(54 + 3 * 12, '\0');
  file[0] = 'B';
  file[1] = 'M';
  file[10] = 54;
  file[14] = 40;
  file[18] = 4;
  file[22] = 3;
  file[28] = 24;
  return {file};
}

void read_toml(const std::string& text) {
  resolve_datasets(parse_toml_tree(text, "fuzz"), "fuzz");
}

void read_json(const std::string& text) {
  resolve_datasets(parse_json_tree(text, "fuzz"), "fuzz");
}

void read_metadata(const std::string& text) {
  const MemoryFile file(text);
  for (const MetadataEntry& entry : read_metadata_file(file.path())) {
    ASSERT_TRUE(!entry.size || entry.size->area() > 0);
  }
}

void read_prompts(const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "fuzz_prompts.json";
  write_file_atomically(path, text);
  for (const SamplePrompt& prompt : read_sample_prompts(path)) {
    const SampleRequest request = sample_request(prompt, "fuzz");
    ASSERT_EQ(request.width % 16, 0);
    ASSERT_GE(request.height, 64);
  }
}

void read_bitmap(const std::string& text) {
  read_picture_header(as_bytes(text), "fuzz");
  const Image image = decode_bmp(as_bytes(text), "fuzz", 1 << 12);
  touch(std::as_bytes(std::span(image.pixels)));
}

class DamagedPictureSet : public testing::TestWithParam<FuzzTarget> {};

TEST_P(DamagedPictureSet, IsReadOrRefusedInBoundedMemory) {
  fuzz_mutations(GetParam());
}

TEST_P(DamagedPictureSet, EveryTruncationIsReadOrRefused) {
  fuzz_truncations(GetParam());
}

INSTANTIATE_TEST_SUITE_P(PictureSets, DamagedPictureSet,
                         testing::Values(FuzzTarget{"toml", 5000, toml_samples, read_toml},
                                         FuzzTarget{"json", 5000, json_samples, read_json},
                                         FuzzTarget{"metadata", 5000, metadata_samples, read_metadata},
                                         FuzzTarget{"prompts", 1000, prompt_samples, read_prompts},
                                         FuzzTarget{"bitmap", 10000, bitmap_samples, read_bitmap}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
