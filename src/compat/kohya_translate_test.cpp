#include "compat/kohya_translate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "base/text.h"
#include "compat/golden_test_support.h"
#include "compat/kohya_options.h"
#include "config/number_text.h"
#include "config/optimizer_rules.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

Translation translated(Words words, int64_t world_size = 1, bool unet_only = true) {
  Words needed = {"--pretrained_model_name_or_path=flux.safetensors",
                  "--clip_l=clip.safetensors",
                  "--t5xxl=t5.safetensors",
                  "--ae=ae.safetensors",
                  "--dataset_config=set.toml",
                  "--output_dir=out",
                  "--network_module=networks.lora_flux"};
  if (unet_only) needed.emplace_back("--network_train_unet_only");
  words.insert(words.begin(), needed.begin(), needed.end());
  KohyaSurroundings around{.world_size = world_size, .model = {}, .batches_per_epoch = [] { return int64_t{25}; }};
  around.batch_size = 4;
  around.dataset_path = "set.toml";
  around.layers = [](const KohyaNetworkArguments& arguments) {
    KohyaLayers layers;
    if (arguments.network_args.contains("train_blocks")) layers.rank_patterns = {"double_blocks.*=0"};
    return layers;
  };
  return translate_kohya(parse_kohya_arguments(words), around);
}
Translation with_text_encoders(const Words& words) {
  return translated(words, 1, /*unet_only=*/false);
}
std::string problem(const Words& words) {
  return config_problem([&] { translated(words); });
}

// A recorded default of a package as our option has it; "" for those without one of ours.
std::string expected_setting(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  return number_text(value.get<double>());
}
std::string number_of(const std::string& toml) {
  const auto number = parse_floating_point(toml);
  return number ? number_text(*number) : toml;
}

// What our rule would compute with: the option as set, else the rule's default.
std::string effective(const Translation& got, const std::string& name) {
  const std::string set = setting(got, "optimizer." + name);
  if (!set.empty()) return number_of(set);
  for (const RuleOption& option : optimizer_rule(got.find("optimizer.name")->text).options) {
    if (name != option.name) continue;
    if (const bool* value = std::get_if<bool>(&option.fallback)) return *value ? "true" : "false";
    if (const double* value = std::get_if<double>(&option.fallback)) return number_text(*value);
  }
  return "";
}

// What LoRA files will say of the optimizer: a text of lora.metadata, or what a run of that class writes by itself.
std::string optimizer_text(const Translation& got) {
  const std::map<std::string, std::string> by_itself = {
      {"AdamW", "torch.optim.adamw.AdamW"},
      {"AdamW8bit", "bitsandbytes.optim.adamw.AdamW8bit"},
      {"Lion", "lion_pytorch.lion_pytorch.Lion"},
      {"Prodigy", "prodigyopt.prodigy.Prodigy"},
      {"AdamWScheduleFree", "schedulefree.adamw_schedulefree.AdamWScheduleFree"},
      {"RAdamScheduleFree", "schedulefree.radam_schedulefree.RAdamScheduleFree"},
      {"SGDScheduleFree", "schedulefree.sgd_schedulefree.SGDScheduleFree"},
      {"CAME", "pytorch_optimizer.optimizer.came.CAME"},
      {"DAdaptAdam", "dadaptation.dadapt_adam.DAdaptAdam"},
      {"DAdaptAdamPreprint", "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint"},
      {"ProdigyPlusScheduleFree", "prodigyplus.prodigy_plus_schedulefree.ProdigyPlusScheduleFree"}};
  const TomlValue* metadata = got.find("lora.metadata");
  if (metadata != nullptr) {
    for (const TomlValue& item : metadata->items) {
      if (item.text.starts_with("optimizer=")) return item.text.substr(item.text.find('=') + 1);
    }
  }
  return by_itself.at(got.find("optimizer.name")->text);
}

TEST(KohyaTranslate, GivesOptimizersTheSettingsOfTheirPackages) {
  const Json golden = compat_golden("flux_lora/commands.json");
  int taken = 0;
  for (const Json& item : golden["optimizers"]) {
    Words words = json_words(item["args"]);
    if (item.contains("error")) {
      EXPECT_NE(problem(words), "") << item["name"];
      continue;
    }
    words.push_back("--learning_rate=" + number_text(item["learning_rate"].get<double>()));
    ++taken;
    const Translation got = translated(words);
    EXPECT_EQ(optimizer_text(got), item["ss_optimizer"].get<std::string>()) << item["name"];
    for (const auto& [name, value] : item["defaults"].items()) {
      if (name == "betas" || (name == "eps" && value.is_string())) {
        const std::string text = value.get<std::string>();
        const std::string option = name == "betas" ? "beta" : "eps";
        int number = 0;
        for (const std::string& part : split(text.substr(1, text.size() - 2), ',')) {
          EXPECT_EQ(effective(got, option + std::to_string(++number)), number_of(std::string(trim(part))))
              << item["name"];
        }
      } else if (!value.is_null() && !effective(got, name).empty()) {
        EXPECT_EQ(effective(got, name), expected_setting(value)) << item["name"] << " " << name;
      }
    }
  }
  EXPECT_EQ(taken, 33);
}

TEST(KohyaTranslate, WritesOptimizerArgumentsAsPythonDoes) {
  const auto text = [](const Words& words) { return optimizer_text(translated(words)); };
  EXPECT_EQ(text({"--optimizer_type=PagedAdamW8bit"}), "bitsandbytes.optim.adamw.PagedAdamW8bit");
  EXPECT_EQ(text({"--use_8bit_adam", "--optimizer_args", "betas=0.9,0.99", "eps=1e-6", "betas=(.8, 1e-5)"}),
            "bitsandbytes.optim.adamw.AdamW8bit(betas=(0.8, 1e-05),eps=1e-06)");
  EXPECT_EQ(text({"--optimizer_type=Prodigy", "--optimizer_args", "d_coef=2", "beta3=None", "decouple=True"}),
            "prodigyopt.prodigy.Prodigy(d_coef=2,beta3=None,decouple=True)");
  EXPECT_EQ(text({"--optimizer_type=SGDNesterov", "--optimizer_args", "momentum=0.8"}),
            "torch.optim.sgd.SGD(momentum=0.8)");
  const Translation more = translated({"--optimizer_args", "weight_decay=0", "--metadata_title=a = b"});
  EXPECT_EQ(setting(more, "lora.metadata"),
            "[\"ss_network_dim=None\", \"ss_network_alpha=1\", \"title=a = b\", "
            "\"optimizer=torch.optim.adamw.AdamW(weight_decay=0)\"]");
}

// What sd-scripts writes of arguments that a run here has no option for, or another value.
TEST(KohyaTranslate, HandsFactsOverToTheLoraFile) {
  // Beside the rank and alpha, which are always there, as they are here where they are not given.
  const auto facts = [](const Translation& got, const Words& rank = {"ss_network_dim=None", "ss_network_alpha=1"}) {
    Words texts;
    for (const TomlValue& item : got.find("lora.metadata")->items) texts.push_back(item.text);
    EXPECT_EQ(Words(texts.begin(), texts.begin() + 2), rank);
    return Words(texts.begin() + 2, texts.end());
  };
  using testing::ElementsAre;
  EXPECT_THAT(facts(translated({"--learning_rate=1e-4"})), testing::IsEmpty());
  EXPECT_THAT(facts(translated({"--network_dim=16", "--network_alpha=8", "--network_dropout=0.1", "--network_args",
                                "train_blocks=single", "verbose=True", "in_dims=[1,2]", "verbose=False"}),
                    {"ss_network_dim=16", "ss_network_alpha=8.0"}),
              ElementsAre("ss_network_args={\"train_blocks\": \"single\", \"verbose\": \"False\", \"in_dims\": "
                          "\"[1,2]\", \"dropout\": 0.1}"));
  EXPECT_THAT(facts(with_text_encoders({"--learning_rate=1e-4", "--unet_lr=2e-4"})),
              ElementsAre("ss_unet_lr=0.0002", "ss_learning_rate=0.0001", "ss_text_encoder_lr=None"));
  EXPECT_THAT(facts(with_text_encoders({"--text_encoder_lr", "5e-5", "1e-5"})),
              ElementsAre("ss_text_encoder_lr=[5e-05, 1e-05]"));
  EXPECT_THAT(facts(translated({"--noise_offset=0.1", "--noise_offset_random_strength", "--adaptive_noise_scale=1",
                                "--multires_noise_iterations=6", "--multires_noise_discount=0.4", "--min_snr_gamma=5",
                                "--zero_terminal_snr", "--clip_skip=2", "--weighting_scheme=logit_normal",
                                "--debiased_estimation_loss"})),
              ElementsAre("ss_noise_offset=0.1", "ss_noise_offset_random_strength=True", "ss_adaptive_noise_scale=1.0",
                          "ss_multires_noise_iterations=6", "ss_multires_noise_discount=0.4", "ss_min_snr_gamma=5.0",
                          "ss_zero_terminal_snr=True", "ss_clip_skip=2", "ss_weighting_scheme=logit_normal",
                          "ss_debiased_estimation=True"));
  // Options of the data set, which its file may have in another way, and numbers that count for nothing.
  EXPECT_THAT(
      facts(translated({"--caption_dropout_rate=0.1", "--face_crop_aug_range=1,2.5", "--resize_interpolation=box",
                        "--validate_every_n_epochs=2", "--timestep_sampling=uniform", "--sigmoid_scale=2",
                        "--huber_c=0.2", "--guidance_scale=2", "--scale_weight_norms=0"})),
      ElementsAre("ss_caption_dropout_rate=0.1", "ss_resize_interpolation=box", "ss_validate_every_n_epochs=2",
                  "ss_scale_weight_norms=0.0", "ss_sigmoid_scale=2.0", "ss_huber_c=0.2",
                  "ss_face_crop_aug_range=(1.0, 2.5)"));
  EXPECT_THAT(facts(translated({"--mixed_precision=bf16", "--fp8_base_unet"})),
              ElementsAre("ss_fp8_base_unet=True", "ss_fp8_base=False"));
}

// In a file of arguments a whole number stays one, also for an option that is a number.
TEST(KohyaTranslate, WritesNumbersOfAFileAsTheyStandThere) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "kohya_numbers.toml";
  write_file_atomically(file, "network_alpha = 16\nlearning_rate = 1\nguidance_scale = 1.0\nmax_grad_norm = 1\n");
  const std::string facts = setting(translated({"--config_file=" + file.string()}), "lora.metadata");
  EXPECT_EQ(facts,
            "[\"ss_network_dim=None\", \"ss_network_alpha=16\", \"ss_max_grad_norm=1\", \"ss_learning_rate=1\"]");
}

// As sd-scripts does where no file lists the data sets.
TEST(KohyaTranslate, HandsOptionsOfFoldersOverToTheLoraFile) {
  KohyaSurroundings around{.world_size = 2, .model = {}, .batches_per_epoch = [] { return int64_t{25}; }};
  around.dataset_path = "out/dataset.json";
  around.layers = [](const KohyaNetworkArguments&) { return KohyaLayers(); };
  const Words words = {"--pretrained_model_name_or_path=flux.safetensors",
                       "--clip_l=clip.safetensors",
                       "--t5xxl=t5.safetensors",
                       "--ae=ae.safetensors",
                       "--output_dir=out",
                       "--network_module=networks.lora_flux",
                       "--network_train_unet_only",
                       "--train_data_dir=folders",
                       "--resolution=512,768",
                       "--train_batch_size=3",
                       "--gradient_accumulation_steps=2",
                       "--enable_bucket",
                       "--min_bucket_reso=200",
                       "--max_bucket_reso=1000",
                       "--flip_aug"};
  const std::string facts = setting(translate_kohya(parse_kohya_arguments(words), around), "lora.metadata");
  for (const char* fact :
       {"ss_batch_size_per_device=3", "ss_total_batch_size=12", "ss_resolution=(512, 768)", "ss_flip_aug=True",
        "ss_color_aug=False", "ss_enable_bucket=True", "ss_bucket_no_upscale=False", "ss_min_bucket_reso=192",
        "ss_max_bucket_reso=1024", "ss_keep_tokens=0"}) {
    EXPECT_THAT(facts, HasSubstr(fact));
  }
  EXPECT_THAT(setting(translated({"--network_dim=4"}), "lora.metadata"), testing::Not(HasSubstr("keep_tokens")));
}

TEST(KohyaTranslate, TakesTheSchedulesThatSdScriptsTakes) {
  const Json golden = compat_golden("flux_lora/commands.json");
  for (const Json& item : golden["schedules"]) {
    const Words words = json_words(item["args"]);
    const std::string name = item["name"];
    if (item.contains("error")) {
      EXPECT_NE(problem(words), "") << name;
      continue;
    }
    const Translation got = translated(words);
    const bool has_own =
        name.starts_with("adafactor:auto") || name == "adafactor:warmup_init" || name == "schedulefree_dummy";
    std::string expected = has_own ? "constant" : words[words.size() > 1 ? 1 : 0];
    expected = expected.substr(expected.rfind('.') + 1);  // without the module
    if (name == "adafactor:fixed_lr") continue;
    EXPECT_EQ(setting(got, "lr_scheduler.name"), "\"" + expected + "\"") << name;
  }
  EXPECT_EQ(setting(translated({"--lr_scheduler=linear", "--lr_warmup_steps=5%"}), "lr_scheduler.warmup_steps"),
            "\"5%\"");
  EXPECT_EQ(setting(translated({"--lr_scheduler=linear", "--lr_warmup_steps=0.1"}), "lr_scheduler.warmup_steps"),
            "0.1");
  EXPECT_EQ(setting(translated({"--lr_scheduler=cosine_with_restarts", "--lr_scheduler_num_cycles=3"}),
                    "lr_scheduler.num_cycles"),
            "3.0");
  EXPECT_THAT(problem({"--lr_scheduler=linear", "--lr_warmup_steps=1.0"}), HasSubstr("expected a whole number"));
}

TEST(KohyaTranslate, TakesTheClassesOfTorch) {
  const auto with = [](const std::string& type, Words arguments) {
    Words words = {"--lr_scheduler_type=" + type, "--lr_scheduler_args"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  };
  const Translation steps = translated(with("MultiStepLR", {"milestones=[10,20]", "gamma=0.5", "last_epoch=-1"}));
  EXPECT_EQ(setting(steps, "lr_scheduler.name"), "\"MultiStepLR\"");
  EXPECT_EQ(setting(steps, "lr_scheduler.milestones"), "[10, 20]");
  EXPECT_EQ(setting(steps, "lr_scheduler.gamma"), "0.5");
  const Translation cycle =
      translated(with("OneCycleLR", {"max_lr=2e-3", "epochs=4", "steps_per_epoch=5", "cycle_momentum=False"}));
  EXPECT_EQ(setting(cycle, "lr_scheduler.max_lr"), "0.002");
  EXPECT_EQ(setting(cycle, "lr_scheduler.total_steps"), "20");
  EXPECT_EQ(setting(cycle, "lr_scheduler.cycle_momentum"), "false");
  EXPECT_THAT(problem(with("OneCycleLR", {"max_lr=2e-3"})), HasSubstr("expected total_steps=N"));
  EXPECT_THAT(problem(with("StepLR", {"gamma=0.1"})), HasSubstr("expected step_size=VALUE"));
  EXPECT_THAT(problem(with("StepLR", {"step_size=0.5"})), HasSubstr("expected a whole number for step_size"));
  EXPECT_THAT(problem(with("StepLR", {"step_size=5", "gama=0.1"})), HasSubstr("(try gamma)"));
  EXPECT_THAT(problem({"--lr_scheduler_type=CyclicLR"}), HasSubstr("expected one of CosineAnnealingLR"));
  Words warm = with("ExponentialLR", {"gamma=0.99"});
  warm.push_back("--lr_warmup_steps=5");
  EXPECT_THAT(problem(warm), HasSubstr("expected 0 with --lr_scheduler_type"));
}

TEST(KohyaTranslate, TakesTheLossesOfFlux) {
  const Json golden = compat_golden("flux_lora/commands.json");
  for (const Json& item : golden["losses"]) {
    const Words words = json_words(item["args"]);
    EXPECT_EQ(problem(words).empty(), !item.contains("error")) << item["name"];
    const std::string name = item["name"];
    if (name.ends_with("_noop")) {
      EXPECT_EQ(translated(words).warnings().size(), 1u) << name;
      const auto without_facts = [](const Words& given) {
        Words overrides = translated(given).overrides();
        std::erase_if(overrides, [](const std::string& text) { return text.starts_with("--lora.metadata="); });
        return overrides;
      };
      EXPECT_EQ(without_facts(words), without_facts({})) << name;
    }
  }
  const Translation huber = translated({"--loss_type", "huber", "--huber_schedule", "constant", "--huber_c", "0.15"});
  EXPECT_EQ(setting(huber, "objective.loss_type"), "\"huber\"");
  EXPECT_EQ(setting(huber, "objective.huber_c"), "0.15");
}

TEST(KohyaTranslate, HasSdScriptsDefaults) {
  const Translation got = translated({});
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"objective.timestep_sampling", "\"sigma\""},
                                          {"objective.model_prediction_type", "\"sigma_scaled\""},
                                          {"objective.guidance_scale", "3.5"},
                                          {"objective.discrete_flow_shift", "3.0"},
                                          {"lora.rank", "4"},
                                          {"lora.alpha", "1.0"},
                                          {"optimizer.name", "\"AdamW\""},
                                          {"optimizer.lr", "2e-06"},
                                          {"optimizer.beta2", "0.999"},
                                          {"optimizer.weight_decay", "0.01"},
                                          {"lr_scheduler.name", "\"constant\""},
                                          {"training.steps", "1600"},
                                          {"training.max_norm", "1.0"},
                                          {"training.mixed_precision_param", "\"float32\""},
                                          {"training.local_batch_size", "4"},
                                          {"training.global_batch_size", "4"},
                                          {"activation_checkpoint.mode", "\"none\""},
                                          {"encoder.max_t5_encoding_len", "512"},
                                          {"lora.save_dtype", "\"fp32\""},
                                          {"model.flavor", "\"flux-dev\""}}) {
    EXPECT_EQ(setting(got, name), value) << name;
  }
}

TEST(KohyaTranslate, CountsEpochsInSteps) {
  const Translation got = translated({"--max_train_epochs=10", "--gradient_accumulation_steps=2",
                                      "--save_every_n_epochs=2", "--save_last_n_epochs=4"});
  EXPECT_EQ(setting(got, "training.steps"), "130");  // 25 batches are 13 steps
  EXPECT_EQ(setting(got, "checkpoint.interval"), "26");
  EXPECT_EQ(setting(got, "checkpoint.keep_latest_k"), "4");
  EXPECT_EQ(setting(got, "lora.kohya_every_epochs"), "2");
  EXPECT_EQ(setting(got, "lora.kohya_last_epochs"), "4");
  EXPECT_EQ(setting(got, "training.global_batch_size"), "8");
  EXPECT_EQ(setting(translated({}, 2), "training.global_batch_size"), "8");
  EXPECT_EQ(setting(translated({"--save_every_n_steps=100"}), "checkpoint.interval"), "100");
}

TEST(KohyaTranslate, WritesFilesBySteps) {
  const Translation got = translated({"--output_name=cat", "--save_every_n_steps=100", "--save_last_n_steps=250"});
  const std::map<std::string, std::string> expected = {
      {"lora.kohya_files", "true"},     {"lora.kohya_name", "\"cat\""}, {"lora.kohya_every_steps", "100"},
      {"lora.kohya_last_steps", "250"}, {"checkpoint.interval", "100"}, {"checkpoint.keep_latest_k", "3"}};
  for (const auto& [name, value] : expected) {  // as many as files: 300, 400, 500
    EXPECT_EQ(setting(got, name), value) << name;
  }
  EXPECT_FALSE(got.has("lora.kohya_every_epochs"));
}

TEST(KohyaTranslate, ResumesFromACheckpointByEitherProgramsName) {
  const auto step = [](const std::string& folder) {
    return setting(translated({"--resume=out/" + folder}), "checkpoint.load_step");
  };
  EXPECT_EQ(step("checkpoint/step-00000100"), "100");
  EXPECT_EQ(step("cat-step00000100-state"), "100");
  EXPECT_EQ(step("cat-000002-state"), "50") << "of the second epoch";
  EXPECT_EQ(step("cat-state"), "") << "the newest";
  EXPECT_EQ(step("checkpoint/step-x"), "");
  EXPECT_THAT(problem({"--resume=elsewhere/step-00000100"}), HasSubstr("expected a checkpoint in --output_dir"));
}

TEST(KohyaTranslate, WritesFilesByStepsAndByEpochs) {
  // Epochs of 25 steps.
  const Translation both = translated(
      {"--max_train_epochs=4", "--save_every_n_steps=30", "--save_every_n_epochs=1", "--save_last_n_epochs_state=2"});
  EXPECT_EQ(setting(both, "lora.kohya_every_steps"), "30");
  EXPECT_EQ(setting(both, "lora.kohya_every_epochs"), "1");
  EXPECT_FALSE(both.has("lora.kohya_last_epochs"));
  EXPECT_EQ(setting(both, "checkpoint.interval"), "25");
  EXPECT_EQ(setting(both, "checkpoint.keep_latest_k"), "2");
  const Translation two = translated({"--max_train_epochs=9", "--save_n_epoch_ratio=4"});
  EXPECT_EQ(setting(two, "lora.kohya_every_epochs"), "2");
  const Translation none = translated({});
  EXPECT_EQ(setting(none, "lora.kohya_files"), "true");
  EXPECT_FALSE(none.has("lora.kohya_name") || none.has("lora.kohya_every_steps"));
}

TEST(KohyaTranslate, TakesTheRecordedRunWithItsTextEncoder) {
  const Words words = json_words(compat_golden("flux_lora/commands.json")["run"]);
  const KohyaArguments arguments = parse_kohya_arguments(words);
  KohyaSurroundings around{.layers = [](const KohyaNetworkArguments&) { return KohyaLayers(); }};
  const std::string message = config_problem([&] { translate_kohya(arguments, around); });
  EXPECT_THAT(message, HasSubstr("prompts.txt"));  // which is not in this folder
  EXPECT_THAT(message, testing::Not(HasSubstr("text_encoder")));
}

// The rates that reach the layers, and the options of the others.
TEST(KohyaTranslate, TrainsTextEncodersAtTheirRates) {
  EXPECT_EQ(setting(translated({}), "lora.train_clip_l"), "false");
  const Translation usual = with_text_encoders({"--learning_rate=1e-4"});
  EXPECT_EQ(setting(usual, "lora.train_clip_l"), "true");
  EXPECT_EQ(setting(usual, "lora.text_encoder_lr"), "");  // optimizer.lr
  const Translation own = with_text_encoders({"--learning_rate=1e-4", "--text_encoder_lr", "5e-5", "1e-5"});
  EXPECT_EQ(setting(own, "lora.text_encoder_lr"), "5e-05");
  EXPECT_EQ(setting(own, "lora.t5xxl_lr"), "");  // which is not trained
  const Translation both =
      with_text_encoders({"--text_encoder_lr", "5e-5", "1e-5", "--network_args", "train_t5xxl=True"});
  EXPECT_EQ(setting(both, "lora.train_t5xxl"), "true");
  EXPECT_EQ(setting(both, "lora.t5xxl_lr"), "1e-05");
  const Translation apart = with_text_encoders({"--learning_rate=1e-4", "--unet_lr=2e-4"});
  EXPECT_EQ(setting(apart, "optimizer.lr"), "2e-04");
  EXPECT_EQ(setting(apart, "lora.text_encoder_lr"), "1e-04");
  const Translation texts_alone = with_text_encoders({"--unet_lr=0", "--text_encoder_lr", "5e-5"});
  EXPECT_EQ(setting(texts_alone, "optimizer.lr"), "5e-05");
  EXPECT_EQ(setting(texts_alone, "lora.text_encoder_lr"), "5e-05");
  // A rate for some layers alone, and for none.
  EXPECT_EQ(setting(translated({"--unet_lr=0", "--learning_rate=1e-4", "--network_args", "network_reg_lrs=a=1"}),
                    "optimizer.lr"),
            "1e-04");
  EXPECT_THAT(problem({"--unet_lr=0"}), HasSubstr("[--unet_lr] expected a learning rate above 0 for something"));
  EXPECT_THAT(translated({"--text_encoder_lr=1e-5"}).table("sd-scripts"), HasSubstr("no text encoder is trained"));
  EXPECT_THAT(config_problem([] {
                with_text_encoders({"--cache_text_encoder_outputs", "--network_args", "train_t5xxl=True"});
              }),
              HasSubstr("[--cache_text_encoder_outputs] expected none with train_t5xxl=True"));
}

TEST(KohyaTranslate, NamesWhatItCannotHave) {
  EXPECT_THAT(problem({"--optimizer_type=Prodigyy"}), HasSubstr("(try prodigy)"));
  EXPECT_THAT(problem({"--optimizer_type=Lion8bit"}), HasSubstr("(try Lion)"));
  EXPECT_THAT(problem({"--optimizer_type=CAME", "--optimizer_args", "betas=(0.9,0.99)"}),
              HasSubstr("expected three numbers"));
  EXPECT_EQ(problem({"--optimizer_type=CAME", "--optimizer_args", "weight_decouple=True", "ams_bound=False"}), "");
  EXPECT_THAT(problem({"--optimizer_args", "weight_decya=0.1"}), HasSubstr("(try weight_decay)"));
  // Arguments that would change the steps, but for what is done here anyway.
  EXPECT_EQ(problem({"--optimizer_args", "maximize=False", "fused=True"}), "");
  EXPECT_THAT(problem({"--optimizer_args", "maximize=True"}), HasSubstr("an argument of AdamW"));
  const Words eight_bit = {"--optimizer_type=AdamW8bit", "--optimizer_args"};
  const auto with = [&](const std::string& word) {
    Words words = eight_bit;
    words.push_back(word);
    return problem(words);
  };
  EXPECT_EQ(with("percentile_clipping=100") + with("block_wise=True"), "");
  EXPECT_THAT(with("percentile_clipping=5"), HasSubstr("got percentile_clipping"));
  EXPECT_THAT(with("block_wise=False"), HasSubstr("got block_wise"));
  EXPECT_THAT(problem({"--lr_scheduler=cosin"}), HasSubstr("(try cosine)"));
  EXPECT_THAT(problem({"--save_model_as=ckpt"}), HasSubstr("a pickle"));
  EXPECT_THAT(problem({"--fp8_base"}), HasSubstr("expected --mixed_precision bf16"));
  EXPECT_THAT(problem({"--network_alpha=-1"}), HasSubstr("[--network_alpha] expected 0, which is the rank, or more"));
  EXPECT_THAT(problem({"--network_args", "x"}), HasSubstr("expected key=value for --network_args, got x"));
  EXPECT_EQ(setting(translated({"--apply_t5_attn_mask"}), "encoder.apply_t5_attn_mask"), "true");
}

TEST(KohyaTranslate, OffloadsAsManyBlocksOfEachKindAsSdScripts) {
  const auto blocks = [](const Words& words) { return setting(translated(words), "lora.offload_blocks"); };
  EXPECT_EQ(blocks({}), "");
  EXPECT_EQ(blocks({"--blocks_to_swap=28"}), "42");  // 14 double, 28 single
  EXPECT_EQ(blocks({"--blocks_to_swap=35"}), "53");  // 17 double, 36 single
  EXPECT_EQ(blocks({"--split_mode"}), "27");         // as --blocks_to_swap=18
  EXPECT_THAT(problem({"--blocks_to_swap=36"}), HasSubstr("[--blocks_to_swap] expected 0 to 35, got 36"));
  const Translation ranks = translated({"--blocks_to_swap=28"}, 4);
  EXPECT_EQ(setting(ranks, "parallelism.data_parallel_replicate_degree"), "4");
  EXPECT_EQ(setting(ranks, "parallelism.data_parallel_shard_degree"), "1");
}

TEST(KohyaTranslate, OffloadsTheInputsOfBlocksThatAreRecomputed) {
  const Translation both = translated({"--gradient_checkpointing", "--cpu_offload_checkpointing"});
  EXPECT_EQ(setting(both, "activation_checkpoint.offload"), "true");
  EXPECT_EQ(setting(both, "activation_checkpoint.mode"), "\"full\"");
  EXPECT_THAT(both.warnings(), testing::IsEmpty());
  const Translation alone = translated({"--cpu_offload_checkpointing"});
  EXPECT_EQ(setting(alone, "activation_checkpoint.offload"), "");
  EXPECT_THAT(alone.warnings(), testing::ElementsAre(HasSubstr("[--cpu_offload_checkpointing] has no effect")));
  EXPECT_EQ(setting(translated({"--gradient_checkpointing"}), "activation_checkpoint.offload"), "");
}

TEST(KohyaTranslate, SaysWhatBecameOfEachArgument) {
  const Translation got = translated(
      {"--network_args", "train_blocks=single", "--noise_offset=0.1", "--sdpa", "--seed=3", "--network_dim=8"});
  const std::string table = got.table("sd-scripts");
  EXPECT_THAT(table, AllOf(HasSubstr("settings of sd-scripts, and what they became:"), HasSubstr("lora.rank = 8")));
  EXPECT_THAT(table, HasSubstr("lora.rank_patterns = [\"double_blocks.*=0\"]"));
  EXPECT_THAT(table, HasSubstr("no effect: there as here, FLUX draws plain normal noise"));
  EXPECT_THAT(table, HasSubstr("nothing to do here"));
  EXPECT_THAT(got.warnings(), testing::ElementsAre(HasSubstr("[--noise_offset] has no effect")));
  EXPECT_EQ(got.in_their_words("[--lora.rank] expected at least 1, got 0"),
            "[--network_dim, here lora.rank] expected at least 1, got 0");
}

TEST(KohyaTranslate, PrintsNoSecret) {
  EXPECT_THAT(translated({"--wandb_api_key=s3cret"}).table("sd-scripts"), testing::Not(HasSubstr("s3cret")));
}

TEST(KohyaTranslate, KnowsEveryOptionThatItTakes) {
  // An option marked as taken, given alone, is either in the table or refused: never lost.
  for (const KohyaOption& option : kohya_options()) {
    if (option.use == KohyaUse::kUnsupported || option.use == KohyaUse::kDataset) continue;
    const std::string name = std::string("--") + option.name;
    if (name == "--config_file") continue;
    Words words = {name};
    if (option.type == KohyaType::kInteger || option.type == KohyaType::kNumber) words.emplace_back("3");
    if (option.type == KohyaType::kText) words.emplace_back(*option.fallback == '\0' ? "1" : option.fallback);
    if (option.type == KohyaType::kTexts) words.emplace_back("a=1");
    std::string said;
    try {
      said = translated(words).table("sd-scripts");
    } catch (const ConfigError& error) {
      said = error.what();
    }
    EXPECT_THAT(said, HasSubstr(name)) << name;
  }
}

}  // namespace
}  // namespace millrace
