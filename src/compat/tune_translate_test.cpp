#include "compat/tune_translate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "compat/tune_test_support.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Translation full(const std::vector<std::string>& overrides = {}, int64_t world_size = 1) {
  return translated("full_finetune_distributed", *tune_config_text("llama3_3/70B_full_multinode"), overrides,
                    world_size);
}
std::string full_problem(const std::vector<std::string>& overrides, int64_t world_size = 1) {
  return config_problem([&] { full(overrides, world_size); });
}

TEST(TuneTranslate, TakesEveryConfigurationThatItLists) {
  for (const std::string& name : tune_config_names()) {
    const bool is_lora = name.find("full") == std::string::npos;
    const bool is_single = name.find("single_device") != std::string::npos;
    const std::string recipe =
        std::string(is_lora ? "lora" : "full") + "_finetune_" + (is_single ? "single_device" : "distributed");
    const Translation translation = translated(recipe, *tune_config_text(name));
    EXPECT_EQ(setting(translation, "model.name"), "\"llama\"") << name;
    EXPECT_NE(setting(translation, "checkpoint.initial_load_path"), "") << name;
    EXPECT_EQ(setting(translation, "lora.rank").empty(), !is_lora) << name;
    EXPECT_THAT(tune_list(), HasSubstr(name));
  }
}

TEST(TuneTranslate, TakesTheRecordedRuns) {
  for (const char* name : {"full", "full_leftover", "full_packed", "lora", "lora_packed"}) {
    const auto flat = compat_golden(std::string("llama/configs/recipes/") + name + ".json");
    std::vector<std::string> overrides;
    for (const auto& [key, value] : flat.items()) {
      overrides.push_back(key + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
    }
    const bool is_lora = std::string(name).starts_with("lora");
    const Translation got =
        translated(is_lora ? "lora_finetune_single_device" : "full_finetune_single_device", "{}", overrides);
    EXPECT_EQ(setting(got, "finetune.data"), "[\"chat.json\"]") << name;
    EXPECT_EQ(setting(got, "finetune.rows"), "\"openai\"");
    EXPECT_EQ(setting(got, "finetune.tokenizer"), "\"base/tokenizer.json\"");  // with the special tokens
    EXPECT_EQ(setting(got, "training.seed"), "5");
    EXPECT_EQ(setting(got, "training.dtype"), "\"float32\"");
    EXPECT_EQ(setting(got, "training.device"), "\"cpu\"");
    EXPECT_EQ(setting(got, "training.max_norm"), "1.0");
    EXPECT_EQ(setting(got, "lr_scheduler.name"), "\"cosine\"");
    EXPECT_EQ(setting(got, "finetune.order"), "\"torchtune\"");
    EXPECT_EQ(setting(got, "finetune.torchtune_version"), "\"0.6.1\"");
    const bool packed = std::string(name).ends_with("packed");
    EXPECT_EQ(setting(got, "finetune.packing"), packed ? "\"greedy\"" : "\"none\"") << name;
    const int64_t batch = flat["batch_size"], accumulation = flat["gradient_accumulation_steps"];
    EXPECT_EQ(setting(got, "training.global_batch_size"), std::to_string(batch * accumulation)) << name;
  }
}

TEST(TuneTranslate, AFileIsOfTheReleaseUnlessItHasKeysOfMain) {
  const auto version = [](const std::vector<std::string>& more) {
    return setting(lora(more), "finetune.torchtune_version");
  };
  EXPECT_EQ(version({}), "\"0.6.1\"");
  EXPECT_EQ(version({"loss=torchtune.modules.loss.LinearCrossEntropyLoss"}), "\"main\"");
  EXPECT_EQ(version({"tokenizer.truncation_type=left"}), "\"main\"");
  EXPECT_EQ(version({"save_every_n_steps=10"}), "\"main\"");
  EXPECT_EQ(version({"checkpointer.keep_last_n_checkpoints=2"}), "\"main\"");
}

TEST(TuneTranslate, TurnsTorchtunesLayersIntoHuggingFaces) {
  const Translation got = lora({"model.apply_lora_to_output=true", "model.lora_dropout=0.1"});
  EXPECT_EQ(setting(got, "lora.targets"),
            "[\"q_proj\", \"v_proj\", \"o_proj\", \"gate_proj\", \"down_proj\", \"up_proj\", \"lm_head\"]");
  EXPECT_EQ(setting(got, "lora.rank"), "16");
  EXPECT_EQ(setting(got, "lora.alpha"), "32.0");
  EXPECT_EQ(setting(got, "lora.dropout"), "0.1");
  EXPECT_EQ(setting(lora({"model=torchtune.models.llama3_3.qlora_llama3_3_70b"}), "lora.base_dtype"),
            "\"nf4_torchao\"");
  EXPECT_EQ(setting(lora({"model.use_dora=true"}), "lora.kind"), "\"dora\"");
}

TEST(TuneTranslate, KeepsBatchesAndSeedsAndEpochs) {
  const Translation got = lora({"seed=7", "epochs=3", "max_steps_per_epoch=10", "gradient_accumulation_steps=4"}, 8);
  EXPECT_EQ(setting(got, "training.local_batch_size"), "2");
  EXPECT_EQ(setting(got, "training.global_batch_size"), "64");
  EXPECT_EQ(setting(got, "training.seed"), "7");
  EXPECT_EQ(setting(got, "finetune.epochs"), "3");
  EXPECT_EQ(setting(got, "finetune.max_steps_per_epoch"), "10");
  EXPECT_EQ(setting(got, "finetune.train_on"), "\"all\"");  // alpaca's default
  EXPECT_EQ(setting(got, "optimizer.beta2"), "0.999");
  EXPECT_EQ(setting(got, "optimizer.weight_decay"), "0.01");
  EXPECT_EQ(setting(got, "lr_scheduler.warmup_steps"), "100");
  EXPECT_EQ(setting(full(), "lr_scheduler.name"), "\"constant\"");
  EXPECT_EQ(setting(full(), "finetune.packing"), "\"greedy\"");
  EXPECT_EQ(setting(full(), "finetune.max_seq_len"), "1024");
}

TEST(TuneTranslate, TheLossIsNeverMadeLarger) {
  EXPECT_THAT(full_problem({"optimizer.maximize=true"}, 1), HasSubstr("expected false, got true"));
  EXPECT_EQ(setting(full({"optimizer.maximize=false"}), "optimizer.name"), "\"AdamW\"");
}

TEST(TuneTranslate, BetasMayBeWholeNumbers) {
  const Translation got = full({"optimizer.betas=[0, 0.99]"});
  EXPECT_EQ(setting(got, "optimizer.beta1"), "0.0");
  EXPECT_EQ(setting(got, "optimizer.beta2"), "0.99");
  for (const char* wrong : {"[0.9]", "[0.9, high]", "0.9"}) {
    EXPECT_THAT(full_problem({std::string("optimizer.betas=") + wrong}), HasSubstr("expected a list of two numbers"));
  }
  EXPECT_THAT(full_problem({"optimizer=torch.optim.Adagrad"}), HasSubstr("expected an optimizer of"));
}

TEST(TuneTranslate, OptimizersHaveTheDefaultsOfTheirPackages) {
  const auto of = [](const std::string& name) {
    return full({"optimizer=" + name, "~optimizer.lr", "~optimizer.fused"});
  };
  const Translation lion = of("bitsandbytes.optim.Lion"), adam = of("bitsandbytes.optim.PagedAdamW8bit");
  EXPECT_EQ(setting(lion, "optimizer.lr"), "1e-04");
  EXPECT_EQ(setting(lion, "optimizer.beta2"), "0.99");
  EXPECT_EQ(setting(lion, "optimizer.weight_decay"), "0.0");
  EXPECT_EQ(setting(adam, "optimizer.lr"), "0.001");
  EXPECT_EQ(setting(adam, "optimizer.weight_decay"), "0.01");
  EXPECT_EQ(setting(of("torch.optim.Adam"), "optimizer.weight_decay"), "0.0");
}

TEST(TuneTranslate, AnInfiniteNormIsNoLimit) {
  for (const char* written : {"inf", "'inf'", ".inf", "null"}) {
    const Translation got = full({std::string("clip_grad_norm=") + written});
    EXPECT_EQ(setting(got, "training.max_norm"), setting(full(), "training.max_norm")) << written;
  }
  EXPECT_EQ(setting(full({"clip_grad_norm=2"}), "training.max_norm"), "2.0");
  EXPECT_THAT(full_problem({"clip_grad_norm=infinite"}, 1), HasSubstr("expected a number for clip_grad_norm"));
}

TEST(TuneTranslate, AValueOfAnotherTypeIsOneProblem) {
  for (const char* override :
       {"epochs=2.5", "epochs='3'", "batch_size=two", "epochs=0", "~epochs", "epochs=null", "batch_size=null"}) {
    const std::string problem = full_problem({override});
    EXPECT_THAT(problem, HasSubstr("] expected ")) << override;
    EXPECT_THAT(problem, Not(HasSubstr("\n"))) << override;
  }
}

TEST(TuneTranslate, RanksOfTensorParallelismShareABatch) {
  const Translation got = full({"tensor_parallel_dim=8", "batch_size=3"}, 16);
  EXPECT_EQ(setting(got, "parallelism.tensor_parallel_degree"), "8");
  EXPECT_EQ(setting(got, "training.local_batch_size"), "3");
  EXPECT_EQ(setting(got, "training.global_batch_size"), "6");
  EXPECT_EQ(setting(full({"tensor_parallel_dim=8", "batch_size=3"}, 1), "training.global_batch_size"), "3");
  EXPECT_THAT(full_problem({"tensor_parallel_dim=3"}, 16), HasSubstr("expected a divisor of the 16 ranks, got 3"));
  EXPECT_THAT(full_problem({"tensor_parallel_dim=0"}, 16), HasSubstr("expected at least 1, got 0"));
}

TEST(TuneTranslate, SaysWhatARunDoesNotGather) {
  EXPECT_THAT(lora_problem({"dataset.split=train+test"}),
              HasSubstr("[dataset.split] expected parts of one split, got train+test (try a list under dataset"));
  EXPECT_EQ(setting(lora({"dataset.split='train[:10]+train[20:]'"}), "finetune.split"), "\"train[:10]+train[20:]\"");
  EXPECT_THAT(lora_problem({"dataset.source=json", "dataset.data_files=https://a.org/b.json"}),
              HasSubstr("[dataset.data_files] expected files on this machine, got https://a.org/b.json"));
}

TEST(TuneTranslate, NamesTheNearestKeyWithItsLine) {
  const std::string yaml = *tune_config_text("llama3_3/70B_lora");
  EXPECT_THAT(config_problem([&] { translated("lora_finetune_distributed", yaml + "batch_sise: 4\n"); }),
              AllOf(HasSubstr("[f.yaml:"), HasSubstr("got batch_sise (try batch_size)")));
  EXPECT_THAT(lora_problem({"model.lora_rnak=4"}), HasSubstr("[model.lora_rnak] expected a known key, got "
                                                             "model.lora_rnak (try lora_rank)"));
  EXPECT_THAT(lora_problem({"dataset=torchtune.datasets.alpaca_datset"}),
              HasSubstr("(try torchtune.datasets.alpaca_dataset)"));
  EXPECT_THAT(lora_problem({"model=torchtune.models.llama3_3.lora_llama3_3_71b"}),
              HasSubstr("(try torchtune.models.llama3_3.lora_llama3_3_70b)"));
  // A variable of the file's own, and a key that torchtune's job script passes to no effect.
  const Translation got = translated("lora_finetune_distributed", "root_dir: /r\n" + yaml,
                                     {"output_dir=${root_dir}/out", "checkpoint_dir=/x"});
  EXPECT_EQ(setting(got, "job.dump_folder"), "\"/r/out\"");
  EXPECT_THAT(got.warnings(), testing::ElementsAre(HasSubstr("[checkpoint_dir] has no effect")));
}

TEST(TuneTranslate, RefusesKeysThatNothingReads) {
  const auto problem = [](const std::string& word) { return lora_problem({word}); };
  EXPECT_THAT(problem("lr=1e-3"),
              AllOf(HasSubstr("[lr] expected a key that the recipe reads"), HasSubstr("got lr (try optimizer.lr)")));
  EXPECT_THAT(problem("lora_rank=64"), HasSubstr("(try model.lora_rank)"));
  EXPECT_THAT(problem("max_seq_len=2048"), HasSubstr("(try tokenizer.max_seq_len)"));
  EXPECT_THAT(problem("packed=True"), HasSubstr("(try dataset.packed)"));
  EXPECT_THAT(problem("zzz=1"), HasSubstr("got zzz (try without it)"));
  EXPECT_EQ(setting(lora({"zzz=5", "epochs=${zzz}"}), "finetune.epochs"), "5");
}

TEST(TuneTranslate, RefusesWhatWouldTrainAnother) {
  EXPECT_THAT(full_problem({"loss.reduction=sum"}), HasSubstr("[loss.reduction] expected mean, got sum"));
  EXPECT_EQ(setting(full({"loss.reduction=mean"}), "model.name"), "\"llama\"");
  EXPECT_THAT(lora_problem({"dataset.source=a.json", "dataset=torchtune.datasets.instruct_dataset",
                            "dataset.new_system_prompt=''"}),
              HasSubstr("(try new_system_prompt: null)"));
  EXPECT_THAT(lora_problem({"model=torchtune.models.llama3_2.lora_llama3_2_1b", "model.apply_lora_to_output=true"}),
              HasSubstr("[model.apply_lora_to_output] expected false, got true: torchtune does not support it"));
}

TEST(TuneTranslate, TakesTheFilesThatAreNamed) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "tune_weights";
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& tensor) {
    std::string header = R"({")" + tensor + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    header.resize(120, ' ');
    std::ofstream(folder / name) << '\x78' << std::string(7, '\0') << header << std::string(4, '\0');
  };
  const auto with = [&](const std::string& files) {
    return std::vector<std::string>{"checkpointer.checkpoint_dir=" + folder.string(),
                                    "checkpointer.checkpoint_files=" + files};
  };
  const auto path = [&](const std::string& files) {
    return setting(full(with(files)), "checkpoint.initial_load_path");
  };
  const std::string whole = "\"" + folder.string() + "\"", format = "{filename_format: 'm-{}-of-{}.safetensors', ";
  for (const char* name : {"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}) write(name, name);
  EXPECT_EQ(path("[m-00001-of-00002.safetensors, m-00002-of-00002.safetensors]"), whole);
  EXPECT_EQ(path(format + "max_filename: '00002'}"), whole);
  EXPECT_EQ(path(format + "max_filename: '00003'}"), whole);  // with a warning
  EXPECT_THAT(full(with(format + "max_filename: '00003'}")).warnings(),
              Contains(HasSubstr("none of them is in " + folder.string())));
  EXPECT_THAT(full_problem(with("[m-00001-of-00002.safetensors, m-00002-of-00003.safetensors]")),
              HasSubstr("got m-00002-of-00003.safetensors, which is not there"));
  EXPECT_THAT(
      full_problem(with("[m-00001-of-00002.safetensors]")),
      HasSubstr("expected m-00001-of-00002.safetensors, m-00002-of-00002.safetensors, the files of the weights"));
  EXPECT_THAT(full_problem(with("{filename_format: 'm-{}', max_filename: '00002'}")),
              HasSubstr("filename_format with"));
  write("other.safetensors", "w");
  write("model.safetensors", "w");
  EXPECT_EQ(path("[model.safetensors]"), whole);
  EXPECT_EQ(path("[other.safetensors]"), "\"" + (folder / "other.safetensors").string() + "\"");
  EXPECT_THAT(full_problem(with("[model.safetensors, other.safetensors]")),
              HasSubstr("expected model.safetensors, the"));
  std::filesystem::remove_all(folder);
}

TEST(TuneTranslate, SaysWhatThereIsInstead) {
  EXPECT_THAT(lora_problem({"dataset=torchtune.datasets.preference_dataset"}),
              HasSubstr("preferences are not trained"));
  EXPECT_THAT(lora_problem({"checkpointer=torchtune.training.FullModelMetaCheckpointer"}),
              AllOf(HasSubstr("FullModelHFCheckpointer reads safetensors"), HasSubstr("convert_llama_weights_to_hf")));
  EXPECT_THAT(lora_problem({"model=torchtune.models.qwen2_5.lora_qwen2_5_7b_instruct"}), HasSubstr("Qwen2"));
  EXPECT_THAT(lora_problem({"model=torchtune.models.llama3_3.llama3_3_70b"}),
              HasSubstr("expected a model with adapters"));
  EXPECT_THAT(lora_problem({"lr_scheduler=null"}), HasSubstr("expected a schedule"));
  EXPECT_THAT(lora_problem({"profiler=true"}), HasSubstr("(try profiler.enabled)"));
  EXPECT_THAT(lora_problem({"dtype=fp16"}), HasSubstr("expected bf16 or fp32, got fp16"));
  EXPECT_THAT(full_problem({"enable_fp8_training=true"}), HasSubstr("[enable_fp8_training]"));
  EXPECT_THAT(full_problem({"context_parallel_dim=2"}), HasSubstr("a sample lies on one rank"));
  EXPECT_THAT(config_problem([] { find_tune_recipe("full_dpo_distributed"); }),
              HasSubstr("preferences are not trained"));
  EXPECT_THAT(config_problem([] { find_tune_recipe("lora_finetune_distribute"); }),
              HasSubstr("(try lora_finetune_distributed)"));
  EXPECT_TRUE(find_tune_recipe("recipes/lora_finetune_single_device.py").is_lora);
}

TEST(TuneTranslate, OffloadsTheInputsOfLayersThatAreRecomputed) {
  const std::string offloading = "enable_activation_offloading=true";
  const Translation both = lora({"enable_activation_checkpointing=true", offloading});
  EXPECT_EQ(setting(both, "activation_checkpoint.mode"), "\"full\"");
  EXPECT_EQ(setting(both, "activation_checkpoint.offload"), "true");
  EXPECT_EQ(setting(lora({"enable_activation_checkpointing=true"}), "activation_checkpoint.offload"), "");
  const auto refused = HasSubstr("[enable_activation_offloading] expected enable_activation_checkpointing: true");
  EXPECT_THAT(lora_problem({"enable_activation_checkpointing=false", offloading}), refused);
  EXPECT_THAT(full_problem({"enable_activation_checkpointing=false", "ac_mode=selective", offloading}), refused);
}

TEST(TuneTranslate, LeavesFoldersOfEpochsOrOfSteps) {
  EXPECT_EQ(setting(lora(), "finetune.result_folders"), "\"epochs\"");
  const Translation steps = full({"save_every_n_steps=50", "checkpointer.keep_last_n_checkpoints=2"});
  EXPECT_EQ(setting(steps, "finetune.result_folders"), "\"steps\"");
  EXPECT_EQ(setting(steps, "checkpoint.interval"), "50");
  EXPECT_EQ(setting(steps, "checkpoint.keep_latest_k"), "2");
}

TEST(TuneTranslate, DrawsASeedWhereThereIsNone) {
  EXPECT_EQ(setting(lora(), "training.random_seed"), "true");
  EXPECT_EQ(setting(lora({"~seed"}), "training.random_seed"), "true");
  EXPECT_EQ(setting(lora({"seed=7"}), "training.random_seed"), "");
}

TEST(TuneTranslate, StartsFromAdapters) {
  const std::string key = "checkpointer.adapter_checkpoint=";
  const auto start = [&](const std::string& path) {
    return setting(lora({"output_dir=out", "checkpointer.output_dir=out", key + path}), "lora.initial_adapter");
  };
  EXPECT_EQ(start("epoch_0/adapter_model.pt"), "\"out/epoch_0\"");
  EXPECT_EQ(start("/other/adapter_model.safetensors"), "\"/other/adapter_model.safetensors\"");
  EXPECT_EQ(setting(lora(), "lora.initial_adapter"), "");
  EXPECT_THAT(full_problem({key + "a.pt"}), HasSubstr("expected null for a recipe without adapters"));
  EXPECT_THAT(lora_problem({"checkpointer.recipe_checkpoint=recipe_state.pt"}), HasSubstr("a pickle"));
  EXPECT_THAT(lora({"output_dir=none", "resume_from_checkpoint=true", "checkpointer.output_dir=none"}).warnings(),
              testing::ElementsAre(HasSubstr("the run is new")));
}

TEST(TuneTranslate, ProfilesWhatItIsAskedFor) {
  const Translation all =
      lora({"profiler.with_stack=true", "profiler.with_flops=true", "profiler.profile_memory=true"});
  for (const char* key : {"with_stack", "with_flops", "profile_memory"}) {
    EXPECT_EQ(setting(all, std::string("profiling.") + key), "true");
    EXPECT_EQ(setting(lora(), std::string("profiling.") + key), "false");
  }
  EXPECT_THAT(all.warnings(), testing::IsEmpty());
}

TEST(TuneTranslate, TellsWhatBecameOfEachKey) {
  const std::string table = lora({"epochs=2"}).table("torchtune");
  EXPECT_THAT(table, HasSubstr("settings of torchtune, and what they became:\n"));
  EXPECT_THAT(table, HasSubstr("finetune.epochs = 2"));
  EXPECT_THAT(table, HasSubstr("defaults of torchtune, and what they became:\n"));
  for (const char* key : {"output_dir", "seed", "optimizer.fused", "compile", "profiler.with_stack"}) {
    EXPECT_THAT(table, HasSubstr(std::string("  ") + key)) << key;
  }
  EXPECT_THAT(table, Not(HasSubstr("no effect")));
}

}  // namespace
}  // namespace millrace
