#include <gmock/gmock.h>

#include <array>

#include "diffusion/options/config_test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST_F(ConfigTest, FileBeatsDefaultAndCommandLineBeatsFile) {
  const FluxRunConfig config = load("[training]\nsteps = 7\nlocal_batch_size = 3\n", {"--training.steps=9"});
  EXPECT_EQ(config.training.steps, 9);
  EXPECT_EQ(config.training.local_batch_size, 3);
  EXPECT_EQ(config.training_pictures.img_size, TrainingPicturesConfig{}.img_size);
}

TEST_F(ConfigTest, EmptyFileIsTheDefaults) {
  EXPECT_EQ(load(""), flux_defaults());
  EXPECT_EQ(load_flux("", {}), flux_defaults());
}

TEST_F(ConfigTest, EveryWayToWriteAnOverride) {
  const FluxRunConfig config =
      load("", {"--training.local-batch-size", "4", "--checkpoint.enable", "--metrics.no_log_to_console",
                "--report.enable=false", "--checkpoint.load_step", "-1", "--sample.prompts=a cat, a dog",
                "--model.axes_dim=[4, 14, 14]", "--lr-scheduler.decay-ratio=0.5", "--lr_scheduler.decay_ratio=None",
                "--job.description=x=y", "--training.dataset_path=", "--metrics.enable_tensorboard", "true",
                "--optimizer.lr", "1e-3"});
  EXPECT_EQ(config.training.local_batch_size, 4);
  EXPECT_TRUE(config.checkpoint.enable);
  EXPECT_FALSE(config.metrics.log_to_console);
  EXPECT_FALSE(config.report.enable);
  EXPECT_EQ(config.checkpoint.load_step, -1);
  EXPECT_THAT(config.sample.prompts, ElementsAre("a cat", "a dog"));
  EXPECT_THAT(config.model.axes_dim, ElementsAre(4, 14, 14));
  EXPECT_EQ(config.lr_scheduler.decay_ratio, std::nullopt);
  EXPECT_EQ(config.job.description, "x=y");
  EXPECT_EQ(config.training_pictures.dataset_path, "");
  EXPECT_TRUE(config.metrics.enable_tensorboard);
  EXPECT_EQ(config.optimizer.lr, 1e-3);
}

TEST_F(ConfigTest, ListsMayBeWrittenAsToml) {
  const FluxRunConfig config = load("", {"--sample.prompts=[\"red, round\", \"blue\"]"});
  EXPECT_THAT(config.sample.prompts, ElementsAre("red, round", "blue"));
  EXPECT_THAT(load("[sample]\nprompts = [\"a\"]\n", {"--sample.prompts="}).sample.prompts, ElementsAre());
}

TEST_F(ConfigTest, OfTwoEqualOverridesTheLastCounts) {
  EXPECT_EQ(load("", {"--training.seed=1", "--training.seed=2"}).training.seed, 2);
}

TEST_F(ConfigTest, WholeNumbersAreNumbersToo) {
  EXPECT_EQ(load("[training]\nmax_norm = 2\n").training.max_norm, 2.0);
}

TEST_F(ConfigTest, UnknownKeyNamesFileLineAndTheNearestKey) {
  EXPECT_THAT(problem("[training]\n\nstpes = 5\n"),
              HasSubstr("[run.toml:3:1] expected a known option, got training.stpes (try training.steps)"));
}

TEST_F(ConfigTest, KeyInTheWrongSectionIsFoundInTheRightOne) {
  EXPECT_THAT(problem("[training]\nwarmup_steps = 5\n"), HasSubstr("lr_scheduler.warmup_steps"));
  EXPECT_THAT(problem("[training]\nbeta1 = 0.5\n"), HasSubstr("try optimizer.beta1"));
}

TEST_F(ConfigTest, UnknownSectionNamesTheNearest) {
  EXPECT_THAT(problem("[job]\n[trainning]\nsteps = 5\n"),
              HasSubstr("[run.toml:2:2] expected a known section, got [trainning] (try [training])"));
}

TEST_F(ConfigTest, KeyOutsideOfSections) {
  EXPECT_THAT(problem("img_size = 5\n"),
              HasSubstr("[run.toml:1:1] expected a [section] around every key, got img_size"));
}

TEST_F(ConfigTest, WrongTypesAreRefusedNotGuessed) {
  EXPECT_THAT(
      problem("[training]\nsteps = \"ten\"\n"),
      HasSubstr("[run.toml:2:9] training.steps: expected a whole number of steps, at least 0, got the text \"ten\""));
  EXPECT_THAT(problem("[training]\nsteps = 5.0\n"), HasSubstr("got the number 5.0"));
  EXPECT_THAT(problem("[training]\nsteps = 1979-05-27\n"), HasSubstr("got a date"));
  EXPECT_THAT(problem("[checkpoint]\nenable = 1\n"), HasSubstr("expected true or false, got the number 1"));
  EXPECT_THAT(problem("[sample]\nprompts = [1]\n"), HasSubstr("expected a list of texts"));
  EXPECT_THAT(problem("[sample]\nprompts = \"a\"\n"), HasSubstr("expected a list of texts"));
  EXPECT_THAT(problem("[optimizer]\nlr = nan\n"), HasSubstr("expected a number"));
  EXPECT_THAT(problem("[optimizer]\nlr = inf\n"), HasSubstr("expected a number"));
  EXPECT_THAT(problem("", {"--training.steps=1e4"}), HasSubstr("[--training.steps] expected a whole number"));
  EXPECT_THAT(problem("", {"--checkpoint.enable=maybe"}), HasSubstr("expected true or false, got the text \"maybe\""));
}

TEST_F(ConfigTest, RangesAndChoices) {
  EXPECT_THAT(problem("[training]\nsteps = -1\n"), HasSubstr("at least 0, got the number -1"));
  EXPECT_THAT(problem("[optimizer]\nbeta1 = 1.0\n"), HasSubstr("at least 0 and below 1, got the number 1.0"));
  EXPECT_THAT(problem("[training]\nclassifier_free_guidance_prob = 1.1\n"), HasSubstr("at least 0 and at most 1"));
  EXPECT_THAT(problem("[lr_scheduler]\ndecay_type = \"cosin\"\n"),
              HasSubstr("expected one of linear, sqrt, cosine, got the text \"cosin\" (try \"cosine\")"));
  EXPECT_THAT(problem("[model]\nname = \"llama3\"\n"), HasSubstr("expected one of flux"));
}

TEST_F(ConfigTest, AllProblemsAreReportedAtOnce) {
  const std::string message =
      problem("[training]\nsteps = \"a\"\nlr = 1\n[modle]\n", {"--training.setps=4", "--optimizer.lr=-1"});
  EXPECT_THAT(message, HasSubstr("run.toml:2:9"));
  EXPECT_THAT(message, HasSubstr("try optimizer.lr"));
  EXPECT_THAT(message, HasSubstr("try [model]"));
  EXPECT_THAT(message, HasSubstr("[--training.setps] expected a known option (try --training.steps)"));
  EXPECT_THAT(message, HasSubstr("[--optimizer.lr] expected a number or None, at least 0"));
}

TEST_F(ConfigTest, ValuesOfUnknownOptionsAreNotRepeated) {
  EXPECT_THAT(problem("[job]\nhf_token = \"hf_verysecret\"\n", {"--job.api_key=sk-verysecret"}),
              Not(HasSubstr("verysecret")));
  EXPECT_THAT(problem("[job]\nhf_token = \"hf_verysecret\n"), Not(HasSubstr("verysecret")));
}

TEST_F(ConfigTest, MissingFileAndFolder) {
  EXPECT_THROW(load_flux(folder_ / "none.toml", {}), ConfigError);
  EXPECT_THROW(load_flux(folder_, {}), ConfigError);
}

TEST_F(ConfigTest, ConfigFileMayBeNamedByItsOption) {
  const std::string path = write("[training]\nsteps = 7\n").string();
  EXPECT_EQ(load_flux("", {"--job.config_file", path}).training.steps, 7);
  EXPECT_EQ(load_flux("", {"--job.config-file=" + path}).training.steps, 7);
  EXPECT_THROW(load_flux(path, {"--job.config_file=" + path}), ConfigError);
}

TEST_F(ConfigTest, OverridesThatAreNone) {
  for (const std::vector<std::string>& overrides :
       std::vector<std::vector<std::string>>{{"training.steps=4"},
                                             {"--training.steps"},
                                             {"--steps=4"},
                                             {"-x"},
                                             {"--checkpoint.no_enable=true"},
                                             {"--training.no_steps"},
                                             {"--sample.prompts=[1, "},
                                             {"--.=1"},
                                             {"--training.=1"},
                                             {"--.steps=1"}}) {
    EXPECT_NE(problem("", overrides), "") << overrides.front();
  }
}

TEST_F(ConfigTest, ChecksBetweenOptions) {
  EXPECT_THAT(problem("[encoder]\nautoencoder_shift = 0.1\n"), HasSubstr("both or neither"));
  EXPECT_THAT(problem("[training]\nimg_size = 100\n"), HasSubstr("expected a multiple of 16 pixels"));
  EXPECT_EQ(problem("[training]\nimg_size = 36\n[model]\npatch_size = 4\n[encoder]\nautoencoder_path = \"none\"\n"),
            "");
  EXPECT_THAT(problem("[training]\nglobal_batch_size = 9\nlocal_batch_size = 4\n"),
              HasSubstr("expected a multiple of"));
  EXPECT_THAT(problem("[training]\nglobal_batch_size = 0\n"), HasSubstr("got 0"));
  EXPECT_THAT(problem("[model]\nhidden_size = 100\nnum_heads = 3\n"), HasSubstr("model.num_heads (3)"));
  EXPECT_THAT(problem("[model]\nhidden_size = 64\nnum_heads = 2\naxes_dim = [8, 8, 8]\n"),
              HasSubstr("= 32, got the sum 24"));
  const std::string encoders = "[encoder]\nt5_encoder = \"a\"\nclip_encoder = \"b\"\nautoencoder_path = \"c\"\n";
  EXPECT_THAT(problem(encoders + "[sample]\nevery_steps = 5\n"), HasSubstr("at least one prompt"));
  EXPECT_EQ(problem("[sample]\nevery_steps = 5\n"), "") << "nothing is loaded to draw with";
  EXPECT_THAT(problem("[sample]\nevery_steps = 5\nprompts = [\"a\"]\n"), HasSubstr("encoder.clip_encoder"));
  EXPECT_EQ(problem("[sample]\nprompts = [\"a\"]\n"), "");
  EXPECT_THAT(problem("[sample]\nprompts = [\"a\"]\nprompts_file = \"b\"\n"), HasSubstr("got both"));
  EXPECT_THAT(problem("[profiling]\nenable_profiling = true\nprofile_freq = 2\n"), HasSubstr("= 4, got 2"));
  EXPECT_THAT(problem("[optimizer]\nstochastic_rounding = true\n"), HasSubstr("training.dtype"));
  EXPECT_THAT(problem("[validation]\nsteps = 0\n"), HasSubstr("-1 or at least 1"));
}

TEST_F(ConfigTest, DataIsNamedBeforeTraining) {
  EXPECT_NO_THROW(require_trainable(load("[training]\ndataset_path = \"a.tar\"\n")));
  EXPECT_NO_THROW(require_trainable(load("[training]\ndataset = \"cc12m_disk\"\n")));  // in its usual place
  EXPECT_THROW(require_trainable(load("")), ConfigError);
  EXPECT_THROW(require_trainable(load("[training]\ndataset = \"cc12m-test\"\n")), ConfigError);
  EXPECT_THROW(require_trainable(load("[training]\ndataset_path = \"a.tar\"\n[validation]\nenable = true\n")),
               ConfigError);
}

TEST_F(ConfigTest, RanksMustFitTheMesh) {
  const FluxRunConfig config = load(
      "[training]\nglobal_batch_size = 48\nlocal_batch_size = 8\n[parallelism]\n"
      "data_parallel_replicate_degree = 2\n");
  EXPECT_NO_THROW(check_ranks(config, 2));
  EXPECT_THROW(check_ranks(config, 1), ConfigError);
  EXPECT_THROW(check_ranks(config, 4), ConfigError);  // 48 is not a multiple of 32
  EXPECT_THROW(check_ranks(load("[parallelism]\ndata_parallel_shard_degree = 2\n"), 1), ConfigError);
  EXPECT_NO_THROW(check_ranks(FluxRunConfig{}, 1));
}

TEST_F(ConfigTest, TheMeshIsResolvedFromTheDegrees) {
  FluxRunConfig config;
  auto degrees = [&](int64_t replicate, int64_t shard, int64_t tp, int64_t ranks) {
    config.parallelism.data_parallel_replicate_degree = replicate;
    config.parallelism.data_parallel_shard_degree = shard;
    config.parallelism.tensor_parallel_degree = tp;
    const MeshDegrees found = mesh_degrees(config, ranks);
    return std::array{found.dp_replicate, found.dp_shard, found.tp};
  };
  EXPECT_EQ(degrees(1, -1, 1, 8), (std::array{1, 8, 1}));
  EXPECT_EQ(degrees(2, -1, 2, 16), (std::array{2, 4, 2}));
  EXPECT_EQ(degrees(2, 1, 3, 6), (std::array{2, 1, 3}));
  EXPECT_THROW(degrees(3, -1, 1, 8), ConfigError);
  EXPECT_THROW(degrees(2, 2, 1, 8), ConfigError);
  EXPECT_THROW(degrees(1, -1, 3, 8), ConfigError);  // 3 does not divide the ranks
  EXPECT_THAT(problem("[model]\nnum_heads = 6\n[parallelism]\ntensor_parallel_degree = 4\n"),
              HasSubstr("[parallelism.tensor_parallel_degree] expected a divisor of model.num_heads, 6, got 4"));
}

TEST_F(ConfigTest, OtherRanksThanTheRunsShareTheWeights) {
  FluxRunConfig config;
  config.parallelism.data_parallel_replicate_degree = 2;
  config.parallelism.tensor_parallel_degree = 3;
  const FluxRunConfig own = config;
  fit_mesh(config, 12);
  EXPECT_EQ(config.parallelism, own.parallelism);
  fit_mesh(config, 4);
  const MeshDegrees degrees = mesh_degrees(config, 4);
  EXPECT_EQ((std::array{degrees.dp_replicate, degrees.dp_shard, degrees.tp}), (std::array{1, 4, 1}));
}

TEST_F(ConfigTest, TensorParallelRanksShareTheirBatch) {
  const FluxRunConfig config = load(
      "[training]\nglobal_batch_size = 8\nlocal_batch_size = 4\n[parallelism]\ntensor_parallel_degree = 2\n[model]\n"
      "num_heads = 2\nhidden_size = 8\naxes_dim = []\n");
  EXPECT_NO_THROW(check_ranks(config, 4));
}

}  // namespace
}  // namespace millrace
