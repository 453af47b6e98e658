// millrace sample for tasks of texts: answers to prompts, or a conversation, from a run's checkpoint or from weights.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/text_lines.h"
#include "checkpoint/run_weights.h"
#include "comm/world.h"
#include "command_line.h"
#include "commands.h"
#include "parallel/run_device.h"
#include "sample_commands.h"
#include "step_option.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr double kMostTemperature = 1000;

struct TextArguments {
  std::string run, weights, config, prompts_file, device, use = "best";
  std::vector<std::string> prompts, overrides;
  int64_t step = -1;
  bool chat = false, json = false;
  TextSampling sampling;
};

bool read_arguments(TextArguments& arguments, const std::vector<std::string>& args) {
  ArgumentParser app{
      "Writes answers to prompts, from a run's newest checkpoint or from weights. Options of the configuration may\n"
      "follow, such as --finetune.tokenizer=...",
      "millrace sample"};
  app.add_option("run", arguments.run, "The run's folder (job.dump_folder)");
  app.add_option("--weights", arguments.weights, "Weights of a language model, instead of a run; with --config");
  app.add_option("--config", arguments.config, "A training configuration (TOML), with --weights");
  app.add_texts("--prompt,-p", arguments.prompts, "Prompt; may be given several times");
  app.add_option("--prompts-file,--prompts", arguments.prompts_file, "A file with one prompt per line");
  app.add_flag("--chat", arguments.chat, "A conversation: each line of standard input is answered, until its end");
  app.add_flag("--json", arguments.json, "Print one JSON object {\"prompt\", \"text\"} per answer");
  add_step_option(app, arguments.step);
  app.add_option("--use", arguments.use, "average: the averaged weights, last: the last step's, best: average if kept")
      ->check(CLI::IsMember({"best", "average", "last"}))
      ->capture_default_str();
  app.add_option("--max-new-tokens", arguments.sampling.max_new_tokens,
                 "Longest answer in tokens; by default the configuration's")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--temperature", arguments.sampling.temperature,
                 "What the logits are divided by before a token is drawn; 0: the likeliest token; by default the "
                 "configuration's")
      ->check(CLI::Range(0.0, kMostTemperature));
  app.add_option("--top-p", arguments.sampling.top_p,
                 "Draw among the likeliest tokens that together have this probability; by default the configuration's")
      ->check(CLI::Range(1e-9, 1.0));
  app.add_option("--seed", arguments.sampling.seed, "Seed of the drawing; by default the configuration's")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--device", arguments.device, "cpu, cuda, cuda:N or auto; by default the configuration's");
  if (!parse_with_overrides(app, args, arguments.overrides)) return false;
  if (arguments.run.empty() == arguments.weights.empty()) {
    throw ConfigError("[sample] expected a run's folder or --weights, got " +
                      std::string(arguments.run.empty() ? "neither" : "both"));
  }
  if (!arguments.run.empty() && !arguments.config.empty()) {
    throw ConfigError("[--config] expected only with --weights: a run has its own configuration");
  }
  return true;
}

// Before weights are loaded, which may take minutes.
std::vector<std::string> read_prompts(const TextArguments& arguments) {
  std::vector<std::string> prompts = arguments.prompts;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string problem = text_problem(prompts[i]);
    if (!problem.empty()) throw ConfigError(str("[--prompt, number ", i + 1, "] ", problem));
  }
  if (!arguments.prompts_file.empty()) {
    for (TextLine& line : read_text_lines(arguments.prompts_file)) prompts.push_back(std::move(line.text));
  }
  if (prompts.empty() == !arguments.chat) {
    throw ConfigError(arguments.chat ? "[sample --chat] expected no prompts with it, which come from standard input"
                                     : "[sample] expected a prompt, got none (try --prompt \"Hello\" or --chat)");
  }
  return prompts;
}

// Prints the answer while it is written, or as one object.
std::string answer(const TextArguments& arguments, TextSampler& sampler, const std::vector<std::string>& turns,
                   int64_t number) {
  const auto print = [](const std::string& piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  if (!arguments.json) {
    std::string text = sampler.answer(turns, arguments.sampling, number, print);
    print("\n");
    return text;
  }
  std::string text = sampler.answer(turns, arguments.sampling, number);
  print(nlohmann::ordered_json{{"prompt", turns.back()}, {"text", text}}.dump() + "\n");
  return text;
}

void converse(const TextArguments& arguments, TextSampler& sampler) {
  if (!sampler.has_conversations()) {
    throw ConfigError("[sample --chat] expected a model of conversations, got one of texts (try --prompt)");
  }
  std::vector<std::string> turns;
  std::string line;
  for (int64_t number = 0; std::getline(std::cin, line); ++number) {
    const std::string problem = text_problem(line);
    if (!problem.empty()) throw DataError(str("[standard input:", number + 1, "] ", problem));
    turns.push_back(line);
    turns.push_back(answer(arguments, sampler, turns, number));
  }
}

}  // namespace

int sample_texts(const std::vector<std::string>& args) {
  TextArguments arguments;
  if (!read_arguments(arguments, args)) return static_cast<int>(ExitCode::kDone);
  const World world = detect_world();
  if (world.size > 1) {
    throw ConfigError(str("[sample] expected one rank to write texts, got ", world.size, " (try `millrace sample ",
                          arguments.run.empty() ? "--weights " + arguments.weights : arguments.run,
                          " ...` by itself, without launch, srun or torchrun)"));
  }
  const fs::path file = arguments.run.empty() ? fs::path(arguments.config) : fs::path(arguments.run) / "config.toml";
  const std::unique_ptr<RunConfig> config = load_task_config(file, arguments.overrides);
  const std::vector<std::string> prompts = read_prompts(arguments);
  std::optional<OpenRunWeights> run;
  if (arguments.run.empty()) {
    config->checkpoint.initial_load_path = arguments.weights;
  } else {
    run = open_run_weights(arguments.run, *config, arguments.step, parse_which_weights(arguments.use));
    log_info(arguments.run, ": step ", run->step, run->averaged ? ", averaged weights" : "");
  }
  const std::string& device = arguments.device.empty() ? config->training.device : arguments.device;
  const auto sampler = text_sampler_of_task(*config)(*config, run ? &*run : nullptr, device_of_rank(device, world));
  for (size_t i = 0; i < prompts.size(); ++i) {
    answer(arguments, *sampler, {prompts[i]}, static_cast<int64_t>(i));
  }
  if (arguments.chat) converse(arguments, *sampler);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
