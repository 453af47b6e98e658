#include "compat/kohya_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "compat/kohya_options.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string problem_of(const std::vector<std::string>& words) {
  try {
    parse_kohya_arguments(words);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(KohyaOptions, AreNamedOnce) {
  std::set<std::string> names;
  for (const KohyaOption& option : kohya_options()) EXPECT_TRUE(names.insert(option.name).second) << option.name;
}

TEST(KohyaArguments, HaveTypesAndDefaults) {
  const KohyaArguments arguments =
      parse_kohya_arguments({"--network_dim", "8", "--learning_rate=1e-4", "--network_args", "train_blocks=single",
                             "verbose=True", "--fp8_base"});
  EXPECT_EQ(arguments.integer("network_dim"), 8);
  EXPECT_EQ(arguments.number("learning_rate"), 1e-4);
  EXPECT_EQ(arguments.number("network_alpha"), 1);
  EXPECT_EQ(arguments.text("timestep_sampling"), "sigma");
  EXPECT_EQ(arguments.text("output_name"), std::nullopt);
  EXPECT_THAT(arguments.texts("network_args"), ElementsAre("train_blocks=single", "verbose=True"));
  EXPECT_TRUE(arguments.has("fp8_base"));
  EXPECT_FALSE(arguments.has("fp8_base_unet"));
}

TEST(KohyaArguments, TakeUnambiguousBeginnings) {
  EXPECT_EQ(parse_kohya_arguments({"--network_di", "4"}).integer("network_dim"), 4);
  EXPECT_THAT(problem_of({"--network_a", "4"}), HasSubstr("(try one of --network_alpha, --network_args)"));
}

TEST(KohyaArguments, NameEveryProblem) {
  EXPECT_THAT(problem_of({"--netwrok_dim", "4", "--seed", "x", "--deepspeed"}),
              AllOf(HasSubstr("[--netwrok_dim]"), HasSubstr("(try --network_dim)"),
                    HasSubstr("[--seed] expected a whole number"), HasSubstr("[--deepspeed] expected no deepspeed")));
  EXPECT_THAT(problem_of({"--seed"}), HasSubstr("[--seed] expected a value"));
  EXPECT_THAT(problem_of({"seed"}), HasSubstr("[seed] expected an option"));
}

TEST(KohyaArguments, WarnOfWhatHasNoEffectOnFlux) {
  const KohyaArguments arguments =
      parse_kohya_arguments({"--noise_offset", "0.1", "--min_snr_gamma", "5", "--seed", "1"});
  EXPECT_THAT(kohya_warnings(arguments), ElementsAre(HasSubstr("min_snr_gamma"), HasSubstr("noise_offset")));
}

TEST(KohyaArguments, ReadAFileThatTheCommandLineOverrides) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "kohya.toml";
  write_file_atomically(
      path, "seed = 1\n[network]\nnetwork_dim = 16\nnetwork_args = ['a=1', 'b=2']\nfp8_base = true\nsdpa = false\n");
  const KohyaArguments arguments =
      parse_kohya_arguments({"--config_file", (path.parent_path() / "kohya").string(), "--seed", "2"});
  EXPECT_EQ(arguments.integer("seed"), 2);
  EXPECT_EQ(arguments.integer("network_dim"), 16);
  EXPECT_THAT(arguments.texts("network_args"), ElementsAre("a=1", "b=2"));
  EXPECT_TRUE(arguments.has("fp8_base"));
  EXPECT_FALSE(arguments.has("sdpa"));
  write_file_atomically(path, "\nsede = 1\n");
  EXPECT_THAT(problem_of({"--config_file", path.string()}),
              AllOf(HasSubstr("kohya.toml:2] expected an option"), HasSubstr("(try --seed)")));
  write_file_atomically(path, "seed = [1, 2]\n");
  EXPECT_THAT(problem_of({"--config_file", path.string()}), HasSubstr("expected one value for seed, got a list"));
  // As the kohya_ss GUI writes it.
  write_file_atomically(path, "epoch = 10\nnoise_offset_type = \"Original\"\npersistent_data_loader_workers = 1\n");
  const KohyaArguments of_gui = parse_kohya_arguments({"--config_file", path.string()});
  EXPECT_TRUE(of_gui.has("persistent_data_loader_workers"));
  EXPECT_THAT(kohya_warnings(of_gui),
              ElementsAre(HasSubstr("toml:1] epoch has no effect"), HasSubstr("noise_offset_type has no effect")));
  EXPECT_THAT(problem_of({"--epoch", "10"}), HasSubstr("expected an option of flux_train_network, got epoch"));
}

TEST(KohyaArguments, PassOnThoseOfDataSets) {
  const DatasetArguments dataset =
      parse_kohya_arguments({"--resolution", "512,768", "--masked_loss", "--dataset_config", "d.toml", "--seed", "1"})
          .dataset();
  EXPECT_TRUE(dataset.settings.masked_loss);
  EXPECT_TRUE(dataset.settings.sd_scripts_limits);
  EXPECT_EQ(dataset.dataset_config, "d.toml");
  EXPECT_EQ(dataset.settings.command_line.find("resolution")->items[1].integer, 768);
}

}  // namespace
}  // namespace millrace
