// Metadata and model hashes that sd-scripts gives (tests/golden/flux_lora/metadata: what it was run to give).
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "adapters/background_file_hash.h"
#include "adapters/kohya_hashes.h"
#include "adapters/kohya_metadata.h"
#include "adapters/kohya_test_support.h"
#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using KohyaHashesTest = FolderTest;

TEST_F(KohyaHashesTest, OfModelFilesAreTheReferences) {
  EXPECT_EQ(kohya_model_hash(path("absent")), "NOFILE");
  EXPECT_EQ(kohya_file_sha256(path("absent")), "NOFILE");
  const nlohmann::ordered_json hashes = golden("file_hashes.json");
  for (const auto& test : hashes.at("cases")) {
    std::string bytes(test.at("bytes").get<size_t>(), '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((7 * i + (i >> 8)) & 255);
    write_file_atomically(path("model"), bytes);
    EXPECT_EQ(kohya_model_hash(path("model")), test.at("model_hash"));
    EXPECT_EQ(kohya_file_sha256(path("model")), test.at("sha256"));
    EXPECT_EQ(BackgroundFileHash(path("model")).get(), test.at("sha256"));
  }
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(kohya_file_sha256(path("model"), stop.get_token()), "");
}

// Every value of a real run's metadata, back from its text.
PythonValue value_of(const std::string& text) {
  if (text == "None") return std::monostate();
  if (text == "True" || text == "False") return text == "True";
  if (starts_with(text, "[") && text.find('{') == std::string::npos)
    return std::vector<double>{std::stod(text.substr(1))};
  if (text.find_first_not_of("0123456789.") != std::string::npos) return text;
  return text.find('.') == std::string::npos ? PythonValue(static_cast<int64_t>(std::stoll(text)))
                                             : PythonValue(std::stod(text));
}

TEST(KohyaMetadata, OfARunIsTheReferences) {
  const nlohmann::ordered_json files = golden("run_metadata.json");
  for (const auto& [file, object] : files.items()) {
    SafetensorsMetadata expected = texts(object);
    TrainingFacts facts;
    std::erase_if(expected, [](const auto& entry) { return !starts_with(entry.first, "ss_"); });
    for (const auto& [key, text] : expected) {
      // Texts of digits alone: hashes and the session's number are texts here as they are there.
      facts[key.substr(3)] = key.find("hash") != std::string::npos ? PythonValue(text) : value_of(text);
    }
    EXPECT_EQ(training_metadata(facts), expected) << file;
    EXPECT_EQ(training_metadata(facts, /*minimal=*/true).size(), 5u);
  }
  EXPECT_EQ(python_str(1e-5), "1e-05");
  EXPECT_EQ(python_str(std::vector<double>{5e-5, 1.0}), "[5e-05, 1.0]");
}

class ModelSpecTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

TEST_F(ModelSpecTest, IsTheReferences) {
  const nlohmann::ordered_json specs = golden("modelspec.json");
  for (const auto& test : specs.at("cases")) {
    ModelSpec spec;
    spec.time = 1740076123.75;
    spec.implementation_version = "sd-scripts/48d368fa557731ad0488c07304dfeba8c07910eb";
    for (const auto& [key, value] : test.at("args").items()) {
      if (key == "output_name") {
        if (spec.title.empty()) spec.title = value.get<std::string>();
      } else if (key == "metadata_title") {
        spec.title = value.get<std::string>();
      } else if (key == "resolution") {
        spec.width = value.front().get<int64_t>();
        spec.height = value.back().get<int64_t>();
      } else if (key == "flux") {
        spec.schnell = value == "schnell";
      } else if (key == "clip_skip") {
        spec.clip_skip = value.get<int64_t>();
      } else if (key == "min_timestep") {
        spec.min_timestep = value.get<int64_t>();
      } else if (key == "max_timestep") {
        spec.max_timestep = value.get<int64_t>();
      } else {
        ASSERT_TRUE(starts_with(key, "metadata_")) << key;
        spec.more[key.substr(std::string("metadata_").size())] = value.get<std::string>();
      }
    }
    EXPECT_EQ(model_spec_metadata(spec), texts(test.at("result"))) << test.at("args").dump();
  }
}

}  // namespace
}  // namespace millrace
