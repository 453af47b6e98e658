// millrace evaluate: the validation loss of a checkpoint, or of weights in any naming.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/run_weights.h"
#include "comm/world.h"
#include "command_line.h"
#include "commands.h"
#include "config/run_config.h"
#include "evaluate_answers.h"
#include "step_option.h"
#include "tasks/task_table.h"
#include "version.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct EvaluateArguments {
  std::string checkpoint, weights, config, use = "best";
  int64_t step = -1;
  int64_t max_answers = 0;
  bool json = false, answers = false, by_start = false;
  std::vector<std::string> overrides;
};

// A run's folder, or the folder of one step in it.
fs::path run_folder_of(EvaluateArguments& arguments) {
  fs::path path = fs::absolute(arguments.checkpoint).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  if (is_run_folder(path)) return path;
  const int64_t step = parse_step_folder(path.filename().string());
  if (step >= 0) arguments.step = step;
  while (step >= 0 && path != path.parent_path()) {
    path = path.parent_path();
    if (is_run_folder(path)) return path;
  }
  throw ConfigError("[" + arguments.checkpoint +
                    "] expected a run's folder with config.toml, or a step's folder in it, got neither");
}

std::string as_json(const Evaluation& evaluation) {
  nlohmann::ordered_json json = {
      {"step", evaluation.step}, {"loss", evaluation.result.loss}, {"num_samples", evaluation.result.num_samples}};
  if (evaluation.result.perplexity) json["perplexity"] = *evaluation.result.perplexity;
  // Parts without a sample are NaN, which becomes null.
  for (const LossBreakdown& parts : evaluation.result.breakdowns) json["per_" + parts.name] = parts.values;
  return json.dump();
}

void print(const Evaluation& evaluation, const std::string& origin) {
  const ValidationResult& result = evaluation.result;
  std::printf("validation loss %.6f over %s samples (%s)\n", result.loss, with_thousands(result.num_samples).c_str(),
              origin.c_str());
  if (result.perplexity) std::printf("perplexity %.4f\n", *result.perplexity);
  for (const LossBreakdown& parts : result.breakdowns) {
    for (size_t i = 0; i < parts.values.size(); ++i) {
      if (std::isnan(parts.values[i])) continue;
      std::printf("  %s %zu/%zu: %.6f\n", parts.name.c_str(), i, parts.values.size(), parts.values[i]);
    }
  }
}

}  // namespace

int run_evaluate(const std::vector<std::string>& args) {
  EvaluateArguments arguments;
  ArgumentParser app{
      "Computes the validation loss of a run's checkpoint, as training does; under launch, srun or torchrun by all "
      "ranks together. Options of the run's configuration may follow: --validation.dataset_path=...",
      "millrace evaluate"};
  app.add_option("checkpoint", arguments.checkpoint, "A run's folder (job.dump_folder), or one step's folder in it");
  app.add_option("--weights", arguments.weights, "Weights in any naming, instead of a checkpoint; with --config");
  app.add_option("--config", arguments.config, "A training configuration (TOML), with --weights");
  add_step_option(app, arguments.step);
  app.add_option("--use", arguments.use, "average: the averaged weights, last: the last step's, best: average if kept")
      ->check(CLI::IsMember({"best", "average", "last"}))
      ->capture_default_str();
  app.add_flag("--json", arguments.json, "Print one JSON object");
  app.add_flag("--answers", arguments.answers,
               "Of a language model: instead of the loss, answer the rows to validate on, before and after training, "
               "and count the answers that are exactly right; the run's report shows them");
  app.add_flag("--by-start", arguments.by_start, "With --answers: right is what begins with the expected answer");
  app.add_option("--max-answers", arguments.max_answers, "With --answers: only the first rows, this many; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  if (!parse_with_overrides(app, args, arguments.overrides)) return static_cast<int>(ExitCode::kDone);
  if (arguments.checkpoint.empty() == arguments.weights.empty()) {
    throw ConfigError("[evaluate] expected a checkpoint or --weights, got " +
                      std::string(arguments.checkpoint.empty() ? "neither" : "both"));
  }

  if ((arguments.max_answers > 0 || arguments.by_start) && !arguments.answers) {
    throw ConfigError("[--max-answers, --by-start] expected --answers with it, got none");
  }
  if (arguments.answers) {
    const bool is_run = !arguments.checkpoint.empty();
    AnswerOptions options;
    if (is_run) options.run = run_folder_of(arguments);
    options.step = arguments.step;
    options.which = parse_which_weights(arguments.use);
    options.max_questions = arguments.max_answers;
    options.by_start = arguments.by_start;
    options.json = arguments.json;
    const std::unique_ptr<RunConfig> config =
        load_task_config(is_run ? options.run / "config.toml" : fs::path(arguments.config), arguments.overrides);
    if (!is_run) config->checkpoint.initial_load_path = arguments.weights;
    evaluate_answers(*config, options);
    return static_cast<int>(ExitCode::kDone);
  }
  const World world = detect_world();
  if (world.rank > 0) set_console_log_level(LogLevel::kError);
  std::unique_ptr<RunConfig> loaded;
  std::optional<CheckpointWeights> weights;
  std::string origin = arguments.weights;
  if (arguments.checkpoint.empty()) {
    loaded = load_task_config(arguments.config, arguments.overrides);
    loaded->checkpoint.initial_load_path = arguments.weights;
  } else {
    const fs::path run = run_folder_of(arguments);
    loaded = load_task_config(run / "config.toml", arguments.overrides);
    RunConfig& config = *loaded;
    const auto names_mesh = [](const std::string& text) { return text.starts_with("--parallelism."); };
    if (std::none_of(arguments.overrides.begin(), arguments.overrides.end(), names_mesh)) fit_mesh(config, world.size);
    config.training.global_batch_size = -1;  // nothing is trained
    if (lora_of_task(config) == nullptr) config.checkpoint.initial_load_path.clear();
    weights = CheckpointWeights{run / config.checkpoint.folder, arguments.step,
                                takes_average(run, config, parse_which_weights(arguments.use))};
    origin = run.string();
  }
  RunConfig& config = *loaded;
  config.validation.enable = true;
  check_ranks(config, world.size);
  const Evaluation evaluation = evaluate_task(config, world, build_for_peers(world.size), weights);
  if (world.rank > 0) return static_cast<int>(ExitCode::kDone);
  if (arguments.json) {
    std::printf("%s\n", as_json(evaluation).c_str());
  } else {
    if (weights) origin += str(", step ", evaluation.step, weights->averaged ? ", averaged weights" : "");
    print(evaluation, origin);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
