// The language model that is trained, and the texts that a run writes: the sections [model] and [sample].
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/option.h"

namespace millrace {

struct LlamaModelConfig {
  std::string name = "llama";
  std::string config;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(name, {.name = "name", .meaning = "family of the model to train", .choices = {"llama"}});
    visit(config,
          {.name = "config",
           .meaning =
               "Hugging Face's config.json with the model's sizes; empty: the one beside the weights of "
               "checkpoint.initial_load_path, or in a GGUF file. With it alone, a model of random weights is trained",
           .none_is_empty = true});
  }
  bool operator==(const LlamaModelConfig&) const = default;
};

struct TextSampleConfig {
  int64_t every_steps = 0;  // 0: never
  std::vector<std::string> prompts;
  std::string prompts_file;
  int64_t max_new_tokens = 128;
  double temperature = 0;  // 0: the likeliest token
  double top_p = 1;
  int64_t seed = 0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(every_steps, {.name = "every_steps",
                        .unit = "steps",
                        .meaning = "steps between two files of answers to the prompts, in job.dump_folder/samples; 0: "
                                   "none",
                        .at_least = 0});
    visit(prompts,
          {.name = "prompts",
           .meaning = "what the model is asked: user messages, or with rows = \"text\" the beginnings of texts"});
    visit(prompts_file, {.name = "prompts_file",
                         .meaning = "file with one prompt per line, instead of prompts",
                         .none_is_empty = true});
    visit(max_new_tokens,
          {.name = "max_new_tokens", .unit = "tokens", .meaning = "longest answer", .at_least = 1, .at_most = 1 << 20});
    visit(temperature, {.name = "temperature",
                        .meaning = "what the logits are divided by before a token is drawn; 0: the likeliest token",
                        .at_least = 0});
    visit(top_p, {.name = "top_p",
                  .meaning = "draw among the likeliest tokens that together have this probability; 1: among all",
                  .at_most = 1,
                  .above = 0});
    visit(seed, {.name = "seed", .meaning = "seed of the drawing", .at_least = 0});
  }
  bool operator==(const TextSampleConfig&) const = default;
};

}  // namespace millrace
