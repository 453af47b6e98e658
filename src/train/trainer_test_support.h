// A task of ten numbers, a listener that records events, and runs of both, for the tests of the step loop.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "comm/communicator.h"
#include "config/run_config.h"
#include "nn/linear.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace millrace::testing {

inline constexpr int64_t kNumbers = 10;

struct TenNumbersOptions {
  std::function<double(int64_t sample)> weight = [](int64_t) { return 1.0; };
  double expected_sample_weight = 1;
  // Called before each microbatch with its number in this process, from 1. Its result is added to every gradient.
  std::function<double(int64_t microbatch)> disturb = [](int64_t) { return 0.0; };
  int64_t validation_samples = 4;
  int64_t preview_every = 1000;
  // The loss of a validation after so many microbatches; none: that of the numbers.
  std::function<double(int64_t microbatch)> validation_loss = nullptr;
  int64_t keep_every = 0;     // steps between two results that stay; 0: none
  int64_t keep_fails_at = 0;  // the step at which there is no room for one; 0: always is
  std::function<std::vector<WeightSource>()> weight_sources = nullptr;
};

// Sample s is a point p(s) of weight c(s); the loss of numbers x is c(s) * |x - p(s)|^2 / 2. Ranks take turns with
// samples, local_batch_size at a time.
class TenNumbers : public Task {
 public:
  TenNumbers(const RunConfig& config, Mesh& mesh, TenNumbersOptions options)
      : options_(std::move(options)),
        local_(config.training.local_batch_size),
        checkpoints_(std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder),
        mesh_(mesh) {
    FlatParametersOptions placement;
    placement.training = true;
    placement.mesh = &mesh;
    placement.hands_over_gradients = config.optimizer.in_backward.value_or(false);
    placement.compute_dtype = config.training.mixed_precision_param == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
    std::vector<UnitSpec> units = {{"unit", {{"numbers", numbers_}}}};
    flat_ = std::make_unique<FlatParameters>(std::move(units), placement);
    flat_->assign({{"numbers", torch::linspace(-1, 1, kNumbers)}});
  }

  static torch::Tensor point(int64_t sample) { return (torch::arange(kNumbers, torch::kFloat64) + sample * 3.7).sin(); }

  FlatParameters& parameters() override { return *flat_; }
  double expected_weight() const override {
    return options_.expected_sample_weight * static_cast<double>(local_ * mesh_.data_size());
  }
  void next_microbatch() override {
    first_sample_ = next_sample_ + mesh_.data_rank() * local_;
    next_sample_ += mesh_.data_size() * local_;
    ++microbatches;
    ++seen_;
  }
  std::optional<double> arrived_weight() const override {
    double weight = 0;
    for (int64_t i = 0; i < local_; ++i) weight += options_.weight(first_sample_ + i);
    return weight;
  }
  MicrobatchResult train_microbatch(double scale) override {
    const torch::NoGradGuard no_grad;
    const double disturbance = options_.disturb(microbatches);
    const torch::Tensor x = values();
    torch::Tensor gradient = torch::full({kNumbers}, disturbance, torch::kFloat64);
    MicrobatchResult result;
    result.loss_1 = torch::zeros({1}, torch::kFloat64);
    for (int64_t sample = first_sample_; sample < first_sample_ + local_; ++sample) {
      const double weight = options_.weight(sample);
      const torch::Tensor difference = x - point(sample);
      result.loss_1 += difference.square().sum() * (weight / 2 * scale);
      gradient += difference * (weight * scale);
      result.weight += weight;
    }
    result.num_samples = local_;
    result.num_tokens = 5 * local_;
    const UnitUse use = flat_->backward_unit(0);
    numbers_.grad().add_(gradient.to(numbers_.grad().scalar_type()));
    return result;
  }
  std::optional<ValidationResult> validate() override {
    validated.push_back(values());
    const double loss = options_.validation_loss ? options_.validation_loss(next_sample_ / local_)
                                                 : validated.back().square().mean().item<double>();
    return ValidationResult{loss, options_.validation_samples, {{"half", {loss / 2, loss / 2}}}};
  }
  bool previews_due(const PreviewMoment& moment) const override {
    return moment.last || moment.step % options_.preview_every == 0;
  }
  void preview(const PreviewMoment& moment, const std::filesystem::path& run_folder) override {
    previews.push_back(str(moment.step, moment.validated ? " validated" : "", moment.last ? " last" : ""));
    previewed.push_back(values());
    EXPECT_TRUE(std::filesystem::exists(run_folder / "config.toml"));
  }
  bool writes_result() const override { return options_.keep_every > 0; }
  Files write_result(int64_t step, const std::filesystem::path& run_folder) override {
    return written(run_folder / "newest.txt", step);
  }
  bool keeps_result(int64_t step, bool last) const override {
    return options_.keep_every > 0 && (last || step % options_.keep_every == 0);
  }
  Files keep_result(int64_t step, bool last, const std::filesystem::path& run_folder) override {
    EXPECT_TRUE(std::filesystem::exists(run_folder / "config.toml"));
    const bool has_trained = microbatches > 0;
    EXPECT_TRUE(!has_trained || !std::filesystem::exists(checkpoints_ / step_folder_name(step))) << "it comes after";
    if (mesh_.world().rank() == 0 && step == options_.keep_fails_at) throw StorageError("[result] expected room");
    kept.push_back(str(step, last ? " last" : ""));
    return written(run_folder / str("kept-", step, ".txt"), step);
  }
  std::string state() const override { return nlohmann::json{{"seen", seen_}}.dump(); }
  void restore_state(const std::string& state) override { seen_ = nlohmann::json::parse(state).at("seen"); }
  std::string data_position() const override { return nlohmann::json{{"next", next_sample_}}.dump(); }
  void restore_data_position(const std::string& position) override {
    next_sample_ = nlohmann::json::parse(position).at("next").get<int64_t>();
  }
  double flops_per_sample() const override { return 60; }
  uint64_t weights_fingerprint() const override { return 0; }
  std::vector<WeightSource> weight_sources() const override {
    return options_.weight_sources ? options_.weight_sources() : std::vector<WeightSource>();
  }
  std::vector<std::string> describe() const override { return {"ten numbers"}; }

  // All numbers that the model computes with, on any rank.
  torch::Tensor values() {
    const torch::NoGradGuard no_grad;
    const UnitUse use = flat_->forward_unit(0, /*keep=*/false);
    return numbers_.to(torch::kFloat64, /*non_blocking=*/false, /*copy=*/true);
  }

  int64_t microbatches = 0;
  std::vector<torch::Tensor> validated, previewed;  // the values at these moments
  std::vector<std::string> previews, kept;          // of these moments

 private:
  Files written(const std::filesystem::path& path, int64_t step) {
    const torch::Tensor numbers = values();  // of all ranks
    if (mesh_.world().rank() != 0) return {};
    write_file_atomically(path, str("step ", step, ": ", numbers));
    return {path};
  }

  TenNumbersOptions options_;
  int64_t local_;
  std::filesystem::path checkpoints_;
  Mesh& mesh_;
  torch::Tensor numbers_ = unplaced_parameter({kNumbers});
  std::unique_ptr<FlatParameters> flat_;
  int64_t first_sample_ = 0, next_sample_ = 0;
  int64_t seen_ = 0;  // microbatches of the whole run
};

class EventRecorder : public RunListener {
 public:
  explicit EventRecorder(std::vector<std::string>& events) : events_(events) {}
  std::string name() const override { return "recorder"; }
  void run_prepares(const RunFacts& facts) override { add(facts.resumes ? "resumed" : "new"); }
  void run_starts() override { add("starts"); }
  void step_starts(int64_t step) override { add(str("step ", step)); }
  void step_ends(const StepMetrics& metrics) override {
    add(str("done ", metrics.step));
    ++steps_;
  }
  void validation_starts(int64_t step) override { add(str("validation ", step)); }
  void validation_ends(int64_t step, const ValidationResult& result) override {
    add(str("validated ", step, " on ", result.num_samples));
  }
  void run_ends(RunEnd end) override {
    constexpr const char* kNames[] = {"target", "all steps", "stopped", "failed", "patience"};
    add(kNames[static_cast<int>(end)]);
  }
  std::string state() const override { return nlohmann::json{{"steps", steps_}}.dump(); }
  void restore(const std::string& state) override {
    steps_ = nlohmann::json::parse(state).at("steps").get<int64_t>();
    add(str("restored ", steps_));
  }

 private:
  void add(std::string event) { events_.push_back(std::move(event)); }

  std::vector<std::string>& events_;
  int64_t steps_ = 0;
};

inline RunConfig ten_numbers_config(const std::filesystem::path& folder) {
  RunConfig config;
  config.job.dump_folder = folder.string();
  config.training.steps = 7;
  config.training.local_batch_size = 2;
  config.training.seed = 5;
  config.training.max_norm = 1;
  config.training.mixed_precision_param = "float32";
  config.optimizer.lr = 0.05;
  config.optimizer.ema_decay = 0.6;
  config.lr_scheduler.warmup_steps = StepsOrPart{.steps = 2};
  config.checkpoint.enable = true;
  config.checkpoint.interval = 2;
  config.checkpoint.async_mode = "async";
  config.report.enable = false;
  config.metrics.log_freq = 1;
  config.metrics.log_to_console = false;
  return config;
}

// The outcome of train() in one process.
struct RunOutcome {
  std::string error;  // of train(); empty: none
  ExitCode code = ExitCode::kDone;
  std::vector<std::string> events;
  std::unique_ptr<TenNumbers> task;
};

inline RunOutcome run_ten_numbers(const RunConfig& config, Communicator& ranks, const TenNumbersOptions& options = {},
                                  std::vector<std::unique_ptr<RunListener>> listeners = {}) {
  RunOutcome outcome;
  outcome.task = std::make_unique<TenNumbers>(config, ranks.mesh(), options);
  if (ranks.world().rank == 0) listeners.push_back(std::make_unique<EventRecorder>(outcome.events));
  try {
    const RunFolder folder(config, ranks, outcome.task->writes_result());
    if (folder.nothing_to_do().empty()) train(*outcome.task, config, ranks, std::move(listeners));
  } catch (const Error& error) {
    outcome.error = error.what();
    outcome.code = error.code();
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  return outcome;
}

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::filesystem::path step_folder(const RunConfig& config, int64_t step) {
  return std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder / step_folder_name(step);
}
inline std::vector<int64_t> saved_steps(const RunConfig& config) {
  return checkpoint_steps(std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder);
}
inline nlohmann::json saved_state(const RunConfig& config, int64_t step) {
  return nlohmann::json::parse(text_of(step_folder(config, step) / "index.json")).at("state");
}
// All bytes of the tensors: weights, moments and averages.
inline std::string saved_tensors(const RunConfig& config, int64_t step) {
  return text_of(step_folder(config, step) / shard_file_name(0, 1));
}
// The lines of metrics.jsonl that have this key: step and value.
inline std::vector<std::pair<int64_t, nlohmann::json>> logged(const RunConfig& config, const std::string& key) {
  std::vector<std::pair<int64_t, nlohmann::json>> found;
  std::ifstream file(std::filesystem::path(config.job.dump_folder) / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (object.contains(key)) found.emplace_back(object.at("step").get<int64_t>(), object.at(key));
  }
  return found;
}

}  // namespace millrace::testing
