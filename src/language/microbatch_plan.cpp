#include "language/microbatch_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"

namespace millrace {

MicrobatchPlan::MicrobatchPlan(EpochPlanner planner, const MicrobatchOptions& options)
    : planner_(std::move(planner)), options_(options) {
  MILLRACE_CHECK(options.samples > 0 && options.ranks > 0 && options.per_step > 0);
  enter(0);
  if (plan_.size() == 0) throw DataError("[finetune.data] expected samples to train on, got none");
  if (planner_.options().order != EpochOrder::kTorchtune) return;
  const int64_t microbatches = torchtune_microbatches(plan_);
  if (microbatches < options.per_step) {
    throw ConfigError(str("[finetune.order] expected at least one whole step of ", options.per_step * options.samples,
                          " samples in an epoch with torchtune's order, got ", plan_.size(),
                          " samples (try a smaller training.global_batch_size)"));
  }
}

void MicrobatchPlan::enter(int64_t epoch) {
  epoch_ = epoch;
  next_ = 0;
  plan_ = planner_.epoch(epoch);
}

PlannedPasses MicrobatchPlan::next() {
  return planner_.options().order == EpochOrder::kTorchtune ? next_of_torchtune() : next_in_stream();
}

PlannedPasses MicrobatchPlan::next_in_stream() {
  std::vector<PlannedSample> pass;
  while (static_cast<int64_t>(pass.size()) < options_.samples) {
    if (next_ == plan_.size()) {
      if (options_.epochs > 0 && epoch_ + 1 >= options_.epochs) break;  // the run's end
      enter(epoch_ + 1);
      continue;
    }
    pass.push_back({epoch_, next_, plan_.sample(next_)});
    ++next_;
  }
  return {std::move(pass)};
}

int64_t MicrobatchPlan::torchtune_microbatches(const EpochPlan& plan) const {
  const int64_t repeated = (plan.size() + options_.ranks - 1) / options_.ranks * options_.ranks;
  const int64_t whole = repeated / options_.samples;
  if (!options_.max_steps_per_epoch) return whole;
  return std::min(whole, *options_.max_steps_per_epoch * options_.per_step);
}

std::vector<PlannedSample> MicrobatchPlan::torchtune_microbatch(const EpochPlan& plan, int64_t epoch,
                                                                int64_t number) const {
  std::vector<PlannedSample> pass;
  for (int64_t i = number * options_.samples; i < (number + 1) * options_.samples; ++i) {
    const int64_t index = i % plan.size();
    pass.push_back({epoch, index, plan.sample(index)});
  }
  return pass;
}

PlannedPasses MicrobatchPlan::next_of_torchtune() {
  const int64_t microbatches = torchtune_microbatches(plan_);
  const int64_t in_steps = microbatches / options_.per_step * options_.per_step;
  if (next_ == in_steps) enter(epoch_ + 1);
  PlannedPasses passes;
  if (options_.carries_over && next_ == 0 && epoch_ > 0 && in_steps < microbatches) {
    const EpochPlan before = planner_.epoch(epoch_ - 1);
    for (int64_t i = in_steps; i < microbatches; ++i) passes.push_back(torchtune_microbatch(before, epoch_ - 1, i));
  }
  passes.push_back(torchtune_microbatch(plan_, epoch_, next_));
  ++next_;
  return passes;
}

std::vector<int64_t> MicrobatchPlan::epoch_ends() const {
  MILLRACE_CHECK(options_.epochs > 0);
  std::vector<int64_t> ends;
  if (planner_.options().order == EpochOrder::kTorchtune) {
    const int64_t steps = torchtune_microbatches(plan_) / options_.per_step;
    for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) ends.push_back((epoch + 1) * steps);
    return ends;
  }
  // Greedy packs of shuffled rows may be more or fewer in another epoch.
  const bool varies = planner_.options().packing != Packing::kNone && planner_.options().shuffle;
  const int64_t step = options_.samples * options_.per_step;
  int64_t samples = 0;
  for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
    samples += varies ? planner_.epoch(epoch).size() : plan_.size();
    ends.push_back((samples + step - 1) / step);
  }
  return ends;
}

std::string MicrobatchPlan::position() const {
  return nlohmann::json{{"epoch", epoch_}, {"next", next_}}.dump();
}

void MicrobatchPlan::restore(const std::string& position) {
  const nlohmann::json json = nlohmann::json::parse(position, nullptr, /*allow_exceptions=*/false);
  const auto is_count = [&](const char* key) { return json.contains(key) && json[key].is_number_unsigned(); };
  if (!json.is_object() || !is_count("epoch") || !is_count("next")) {
    throw DataError("[the checkpoint's position in the data] expected {\"epoch\": ..., \"next\": ...}, got " +
                    position);
  }
  enter(json["epoch"].get<int64_t>());
  next_ = json["next"].get<int64_t>();
  if (next_ > plan_.size()) {
    throw DataError(str("[the checkpoint's position in the data] expected a sample of an epoch of ", plan_.size(),
                        ", got ", next_, " (try the data that the run began with)"));
  }
}

}  // namespace millrace
