#include "picture_sets/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "picture_sets/dataset_arguments.h"
#include "picture_sets/golden_test_support.h"
#include "picture_sets/read_document.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<DatasetOptions> resolve(const std::string& toml, bool sd_scripts_limits = false) {
  return resolve_datasets(parse_toml_tree(toml, "d.toml"), "d.toml", {.sd_scripts_limits = sd_scripts_limits});
}

std::string problem_of(const std::string& toml) {
  try {
    resolve(toml);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Resolve, GivesTheOptionsThatSdScriptsResolves) {
  const GoldenJson golden = read_golden("config/valid.json");
  ASSERT_GE(golden.size(), 10u);
  for (const GoldenJson& valid : golden) {
    const std::string file = "config/valid/" + valid["file"].get<std::string>();
    std::vector<std::string> words = words_of(valid["args"]);
    // Its resolution is beyond its largest bucket, which sd-scripts refuses at a later stage.
    const bool is_refused_later = valid["file"] == "10_cli_fallback.toml";
    if (is_refused_later) words.insert(words.end(), {"--max_bucket_reso", "1152"});
    const DatasetArguments arguments = parse_dataset_arguments(words);
    EXPECT_TRUE(arguments.rest.empty()) << file;
    const std::vector<DatasetOptions> datasets =
        resolve_datasets(read_document(golden_path(file)), file, arguments.settings);
    ASSERT_EQ(datasets.size(), valid["datasets"].size()) << file;
    for (size_t i = 0; i < datasets.size(); ++i) {
      GoldenJson expected = valid["datasets"][i]["params"];
      if (is_refused_later) expected["max_bucket_reso"] = 1152;
      expected["kind"] = valid["datasets"][i]["kind"];
      expected["subsets"] = valid["datasets"][i]["subsets"];
      // Compared without the order of keys.
      EXPECT_EQ(nlohmann::json(options_json(datasets[i])), nlohmann::json(expected)) << file;
    }
  }
}

TEST(Resolve, RefusesWhatSdScriptsRefusesAndNamesTheOption) {
  const GoldenJson golden = read_golden("config/invalid.json");
  ASSERT_GE(golden.size(), 21u);
  for (const GoldenJson& invalid : golden) {
    const std::string file = golden_path("config/invalid/" + invalid["file"].get<std::string>()).string();
    try {
      resolve_datasets(read_document(file), file, {.sd_scripts_limits = true});
      ADD_FAILURE() << file << " was accepted";
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), HasSubstr(file));
      if (!invalid.contains("problems")) continue;
      const GoldenJson& path = invalid["problems"][0]["path"];
      const std::string last = path.back().get<std::string>();
      EXPECT_THAT(error.what(), HasSubstr(last == "0" ? file : last)) << file;
      EXPECT_THAT(error.what(),
                  HasSubstr(invalid["problems"][0]["kind"] == "unknown key" ? "known option" : "expected"));
    }
  }
}

TEST(Resolve, NamesLineAndNearestOption) {
  EXPECT_THAT(problem_of("[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = 'a'\nflip_augg = true\n"),
              AllOf(HasSubstr("[d.toml:5:1] datasets[0].subsets[0]: expected a known option, got \"flip_augg\""),
                    HasSubstr("(try flip_aug)")));
  EXPECT_THAT(problem_of("[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = 'a'\nrepeats = 3\n"),
              HasSubstr("(try num_repeats)"));
  EXPECT_THAT(problem_of("[[datasets]]\nresolution = 512\nimage_dir = 'a'\n"), HasSubstr("(try [[datasets.subsets]])"));
  for (const char* rate : {"nan", "inf", "1.5", "-0.1"}) {
    EXPECT_THAT(problem_of("[general]\ncaption_dropout_rate = " + std::string(rate) + "\n"),
                HasSubstr("caption_dropout_rate: expected a number from 0 to 1, got the number " + std::string(rate)));
  }
  EXPECT_THAT(problem_of("[general]\ntoken_warmup_step = nan\n"),
              HasSubstr("expected a finite number, got the number nan"));
  EXPECT_THAT(problem_of("[general]\ninterpolation_type = 'area'\n"), HasSubstr("(try resize_interpolation)"));
}

TEST(Resolve, NamesTheLineInJson) {
  const PlacedValue document =
      parse_json_tree("{\"datasets\": [\n {\"resolution\": 512,\n  \"batchsize\": 2}]}", "d.json");
  try {
    resolve_datasets(document, "d.json");
    ADD_FAILURE();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("[d.json:3] datasets[0]"), HasSubstr("(try batch_size)")));
  }
}

TEST(Resolve, TakesStepsOfSixteenUnlessSdScriptsLimitsHold) {
  const auto with_steps = [](int steps) {
    return "[[datasets]]\nresolution = 512\nenable_bucket = true\nbucket_reso_steps = " + std::to_string(steps) +
           "\n[[datasets.subsets]]\nimage_dir = 'a'\n";
  };
  EXPECT_NO_THROW(resolve(with_steps(16)));
  EXPECT_NO_THROW(resolve(with_steps(48)));
  EXPECT_THROW(resolve(with_steps(24)), ConfigError);
  EXPECT_NO_THROW(resolve(with_steps(128), true));
  EXPECT_THROW(resolve(with_steps(48), true), ConfigError);
}

TEST(Resolve, HasANameForWhatSdScriptsScalesByWithoutAFilter) {
  const std::string toml =
      "[[datasets]]\nresolution = 512\nresize_interpolation = 'area_or_lanczos'\n[[datasets.subsets]]\nimage_dir='a'\n";
  const DatasetOptions dataset = resolve(toml)[0];
  const auto filter = [&](int64_t width, int64_t height) {
    return trained_filter(dataset, dataset.subsets[0], {100, 80}, {width, height});
  };
  EXPECT_EQ(filter(50, 40), Filter::kArea);
  EXPECT_EQ(filter(100, 40), Filter::kArea);
  EXPECT_EQ(filter(101, 40), Filter::kLanczos);
  EXPECT_EQ(trained_filter({}, {}, {100, 80}, {50, 40}), Filter::kBicubic);
  EXPECT_THROW(resolve(toml, true), ConfigError) << "sd-scripts would refuse the file";
}

TEST(Resolve, TakesTrueForAWholeNumberAsPythonDoes) {
  const auto datasets =
      resolve("[[datasets]]\nresolution = 512\nbatch_size = true\n[[datasets.subsets]]\nimage_dir='a'\n");
  EXPECT_EQ(datasets[0].batch_size, 1);
}

TEST(ReadDocument, NamesTheLineOfBrokenJson) {
  try {
    parse_json_tree("{\"general\": {},\n \"datasets\": [}", "d.json");
    ADD_FAILURE();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("[d.json:2] expected valid JSON"));
  }
  EXPECT_THROW(parse_json_tree("{\"a\": 1, \"a\": 2}", "d.json"), ConfigError);
  EXPECT_THROW(parse_json_tree(std::string(100, '['), "d.json"), ConfigError);
}

TEST(DatasetArguments, LeavesOtherWords) {
  const DatasetArguments parsed =
      parse_dataset_arguments({"x.toml", "--json", "--train_batch_size=4", "--enable_bucket", "--class_tokens", "a"});
  EXPECT_EQ(parsed.rest, (std::vector<std::string>{"x.toml", "--json", "--class_tokens", "a"}));
  EXPECT_EQ(parsed.settings.command_line.find("batch_size")->integer, 4);
  EXPECT_THROW(parse_dataset_arguments({"--resolution", "12,13,14"}), ConfigError);
  EXPECT_THROW(parse_dataset_arguments({"--keep_tokens"}), ConfigError);
}

TEST(FolderDocument, ReadsRepeatsAndWordsFromNames) {
  const GoldenJson golden = read_golden("config/folder_mode.json");
  const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "folder_mode";
  std::filesystem::remove_all(root);
  for (const GoldenJson& folder : golden["directories"])
    std::filesystem::create_directories(root / folder.get<std::string>());
  write_file_atomically(root / "train/7_file", "no folder");
  std::vector<std::string> ignored;
  const std::vector<DatasetOptions> datasets =
      resolve_datasets(folder_document(root / "train", root / "reg", ignored), "folders",
                       parse_dataset_arguments({"--resolution", "512"}).settings);
  ASSERT_EQ(datasets.size(), 1u);
  GoldenJson found = GoldenJson::array();
  for (const SubsetOptions& subset : datasets[0].subsets) {
    found.push_back({{"image_dir", std::filesystem::relative(subset.image_dir, root).string()},
                     {"num_repeats", subset.num_repeats},
                     {"is_reg", subset.is_reg},
                     {"class_tokens", *subset.class_tokens}});
  }
  EXPECT_THAT(std::vector<GoldenJson>(found.begin(), found.end()),
              testing::UnorderedElementsAreArray(golden["subsets"]));
  EXPECT_EQ(ignored.size(), 2u);
}

}  // namespace
}  // namespace millrace
