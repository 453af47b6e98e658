// What torchtitan's files and command lines mean here.
#include <gmock/gmock.h>

#include "diffusion/options/config_test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(ConfigTest, OldSpellingsSetTheSameOption) {
  const FluxRunConfig config = load(
      "[training]\nbatch_size = 16\nclassifer_free_guidance_prob = 0.1\n[lr_scheduler]\nlr_min = 0.2\n"
      "[checkpoint]\nenable_checkpoint = true\n[encoder]\ncontext_in_dim = 512\n[debug]\nseed = 3\n"
      "[training.dataloader]\nnum_workers = 2\n[profiling]\nprofiler_active = 2\n");
  EXPECT_EQ(config.training.local_batch_size, 16);
  EXPECT_EQ(config.training_pictures.classifier_free_guidance_prob, 0.1);
  EXPECT_EQ(config.lr_scheduler.min_lr_factor, 0.2);
  EXPECT_TRUE(config.checkpoint.enable);
  EXPECT_EQ(config.model.context_in_dim, 512);
  EXPECT_EQ(config.training.seed, 3);
  EXPECT_EQ(config.training.num_workers, 2);
  EXPECT_EQ(config.profiling.active_steps, 2);
  EXPECT_FALSE(load("", {"--checkpoint.no_enable_checkpoint"}).checkpoint.enable);
}

// torchtitan ignores the misspelled scale in the MLPerf files; it only works there because 5.0 is its default.
TEST_F(ConfigTest, MisspelledGuidanceScaleTakesEffect) {
  EXPECT_EQ(load("[eval]\nclassifer_free_guidance_scale = 3.5\n").sample.guidance_scale, 3.5);
}

TEST_F(ConfigTest, GuidanceSwitchDecidesWhetherTheScaleCounts) {
  const std::string on = "[eval]\nenable_classifer_free_guidance = true\n";
  const std::string off = "[validation]\nenable_classifier_free_guidance = false\n";
  EXPECT_EQ(load(on).sample.guidance_scale, 5.0);
  EXPECT_EQ(load(on + "classifer_free_guidance_scale = 3.5\n").sample.guidance_scale, 3.5);
  EXPECT_EQ(load(off + "classifier_free_guidance_scale = 3.5\n").sample.guidance_scale, 1.0);
  EXPECT_EQ(load(off + "[sample]\nguidance_scale = 2.0\n").sample.guidance_scale, 2.0);
}

TEST_F(ConfigTest, EvalSectionIsTheValidationSection) {
  const FluxRunConfig config = load(
      "[eval]\ndataset = \"coco\"\ndataset_path = \"/d\"\neval_freq = 262144\nbatch_size = 16\n"
      "target_eval_loss = 0.586\ndenoising_steps = 4\n");
  EXPECT_TRUE(config.validation.enable);
  EXPECT_EQ(config.validation_pictures.dataset, "coco");
  EXPECT_EQ(config.validation_pictures.dataset_path, "/d");
  EXPECT_EQ(config.validation.freq_samples, 262144);
  EXPECT_EQ(config.validation.local_batch_size, 16);
  EXPECT_EQ(config.validation.target_loss, 0.586);
  EXPECT_EQ(config.sample.denoising_steps, 4);
}

TEST_F(ConfigTest, NamingAnEvalDataSetIsTheSwitch) {
  EXPECT_FALSE(load("[eval]\ndataset = \"coco\"\n", {"--eval.dataset="}).validation.enable);
  EXPECT_FALSE(load("[eval]\ndataset = \"coco\"\n[validation]\nenable = false\n").validation.enable);
  EXPECT_FALSE(load("[validation]\ndataset = \"coco\"\n").validation.enable);
  // The command line beats the switch of a file, but not one beside it.
  const char* switched_on = "[validation]\nenable = true\ndataset = \"coco\"\n";
  EXPECT_FALSE(load(switched_on, {"--eval.dataset="}).validation.enable);
  EXPECT_TRUE(load("[validation]\nenable = false\n", {"--eval.dataset=coco"}).validation.enable);
  EXPECT_TRUE(load(switched_on, {"--eval.dataset=", "--validation.enable"}).validation.enable);
  EXPECT_TRUE(load(switched_on, {"--eval.dataset_path=/d"}).validation.enable);
}

TEST_F(ConfigTest, TwoSpellingsMustAgree) {
  EXPECT_EQ(problem("[validation]\nlocal_batch_size = 4\n[eval]\nbatch_size = 4\n"), "");
  EXPECT_THAT(problem("[validation]\nlocal_batch_size = 4\n[eval]\nbatch_size = 8\n"),
              HasSubstr("[run.toml:4:1] expected one value for validation.local_batch_size, got the number 8 as "
                        "eval.batch_size and the number 4 as validation.local_batch_size in line 2"));
  EXPECT_EQ(load("[validation]\nlocal_batch_size = 4\n", {"--eval.batch_size=8"}).validation.local_batch_size, 8);
}

std::string warnings_of(const std::function<void()>& action) {
  testing::internal::CaptureStderr();
  action();
  return testing::internal::GetCapturedStderr();
}

TEST_F(ConfigTest, OptionsWithoutEffectAreReportedOnce) {
  const std::string text = warnings_of([&] { load("[compile]\nenable = true\n[training]\ncompile = true\n"); });
  EXPECT_THAT(text, HasSubstr("run.toml:2:10] compile.enable has no effect: nothing is compiled"));
  EXPECT_THAT(text, HasSubstr("training.compile has no effect"));
  EXPECT_EQ(text.find("compile.enable"), text.rfind("compile.enable"));
}

TEST_F(ConfigTest, HarmlessValuesAreAcceptedInSilence) {
  const std::string text = warnings_of([&] {
    load(
        "[compile]\nenable = false\ncomponents = [\"model\", \"loss\"]\n[checkpoint]\nexport_dtype = \"float32\"\n"
        "[parallelism]\ncontext_parallel_degree = 1\n[training]\nenable_cpu_offload = false\n");
  });
  EXPECT_EQ(text, "");
  EXPECT_EQ(warnings_of([&] { load("[compile]\nenable = true\n", {"--compile.no_enable"}); }), "");
}

TEST_F(ConfigTest, WhatCannotBeHonouredIsAnError) {
  EXPECT_THAT(problem("[parallelism]\ncontext_parallel_degree = 2\n"),
              HasSubstr("[run.toml:2:27] parallelism.context_parallel_degree: expected 1, got the number 2 (ranks"));
  EXPECT_THAT(problem("", {"--parallelism.pipeline_parallel_degree=2"}), HasSubstr("expected 1, got the number 2"));
  EXPECT_THAT(problem("[model]\nconverters = [\"float8\"]\n"), HasSubstr("quantised layers"));
  EXPECT_THAT(problem("[experimental]\ncustom_import = \"my.module\"\n"), HasSubstr("no Python"));
  EXPECT_EQ(problem("[parallelism]\ncontext_parallel_degree = 2\n", {"--parallelism.context_parallel_degree=1"}), "");
}

TEST_F(ConfigTest, OptionsWithoutEffectHaveTypesToo) {
  EXPECT_THAT(problem("[compile]\nenable = \"yes\"\n"), HasSubstr("expected true or false"));
  EXPECT_THAT(problem("[compile]\nenabel = true\n"), HasSubstr("try compile.enable"));
  EXPECT_THAT(problem("[comm]\ninit_timeout_seconds = 1.5\n"), HasSubstr("expected a whole number"));
}

}  // namespace
}  // namespace millrace
