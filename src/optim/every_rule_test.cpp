// What every rule promises, whatever it computes: it resumes exactly, works on parts of the parameters as on the whole,
// lends weights and takes them back, and can be planned without memory.
#include <gtest/gtest.h>

#include <array>

#include <barrier>
#include <cmath>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "config/run_config.h"
#include "config/task_kind.h"
#include "optim/ema.h"
#include "optim/optim_test_support.h"
#include "optim/optimizer_table.h"

namespace millrace {
namespace {

// Each rule as it is, and with options that change what it keeps or how it sums.
std::vector<std::vector<std::string>> option_sets() {
  std::vector<std::vector<std::string>> sets;
  for (const OptimizerRule& rule : optimizer_rules()) sets.push_back({std::string("name=") + rule.name});
  sets.push_back({"name=Prodigy", "slice_p=3", "d0=1e-3", "weight_decay=0.1", "use_bias_correction=true"});
  sets.push_back({"name=Prodigy", "decouple=false", "d0=1e-3", "weight_decay=0.1", "safeguard_warmup=true"});
  sets.push_back({"name=Adafactor", "beta1=0.9", "relative_step=false", "lr=1e-3", "weight_decay=0.1"});
  sets.push_back({"name=SGD", "momentum=0.9", "nesterov=true", "weight_decay=0.1"});
  sets.push_back({"name=SGD", "momentum=0.9", "dampening=0.5"});
  sets.push_back({"name=ProdigyPlusScheduleFree", "factored=false", "d0=1e-3", "use_bias_correction=true"});
  sets.push_back({"name=ProdigyPlusScheduleFree", "d0=1e-3", "use_speed=true", "weight_decay=0.1", "prodigy_steps=3"});
  sets.push_back({"name=AdamWScheduleFree", "warmup_steps=5", "weight_decay=0.05", "r=0.5"});
  sets.push_back({"name=RAdamScheduleFree", "silent_sgd_phase=false", "beta2=0.9", "weight_decay=0.05"});
  sets.push_back({"name=DAdaptAdam", "d0=1e-3", "weight_decay=0.1", "use_bias_correction=true", "growth_rate=1.5"});
  sets.push_back({"name=DAdaptAdan", "d0=1e-3", "no_prox=true"});
  sets.push_back({"name=DAdaptSGD", "d0=1e-3", "momentum=0.9", "weight_decay=0.1"});
  sets.push_back({"name=CAME", "weight_decay=0.1", "clip_threshold=0.5"});
  return sets;
}

OptimizerConfig config_of(const std::vector<std::string>& options) {
  std::vector<std::string> arguments;
  for (const std::string& option : options) arguments.push_back("--optimizer." + option);
  static constexpr std::array kTasks = {TaskKind{"plain", "plain", "a task without its own options", false,
                                                 [] { return std::make_unique<RunConfig>(); }}};
  return load_run_config(kTasks, "", arguments)->optimizer;
}

std::string text_of(const std::vector<std::string>& options) {
  std::string text;
  for (const std::string& option : options) text += (text.empty() ? "" : " ") + option;
  return text;
}

// Two large matrices, a small one and a vector, with padding between them.
const std::vector<WholeParameter>& model() {
  static const std::vector<WholeParameter> kModel = {
      {"large", {67, 71}}, {"small", {9, 5}}, {"wide", {8, 768}}, {"vector", {33}}};
  return kModel;
}
constexpr int64_t kPadding = 7;

int64_t size_of(const WholeParameter& parameter) {
  return c10::multiply_integers(parameter.shape);
}
int64_t model_size() {
  int64_t size = 0;
  for (const WholeParameter& parameter : model()) size += size_of(parameter) + kPadding;
  return size;
}

// Elements [first, last) of the flat model, as one rank of several holds them.
FlatGroup part_of_model(const torch::Tensor& weights, int64_t first, int64_t last) {
  FlatGroup group;
  group.name = "parameters";
  group.master = weights.slice(0, first, last).clone();
  group.grad = torch::zeros_like(group.master);
  group.whole_parameters = model();
  int64_t begin = 0;
  for (const WholeParameter& parameter : model()) {
    const int64_t end = begin + size_of(parameter), from = std::max(begin, first), to = std::min(end, last);
    if (from < to) {
      group.parameters.push_back({.name = parameter.name,
                                  .begin = from - first,
                                  .size = to - from,
                                  .offset = from - begin,
                                  .global_shape = parameter.shape});
    }
    begin = end + kPadding;
  }
  return group;
}

FlatGroup whole_model(const torch::Tensor& weights) {
  return part_of_model(weights, 0, model_size());
}

torch::Tensor random_weights(uint64_t seed) {
  torch::manual_seed(seed);
  torch::Tensor weights = torch::randn({model_size()});
  int64_t begin = 0;
  for (const WholeParameter& parameter : model()) {
    weights.narrow(0, begin + size_of(parameter), kPadding).zero_();
    begin += size_of(parameter) + kPadding;
  }
  return weights;
}

constexpr double kRate = 1e-2;

void take_steps(Optimizer& optimizer, const std::vector<torch::Tensor>& grads, int64_t first) {
  for (const torch::Tensor& grad : grads) {
    optimizer.groups()[0].grad.copy_(grad.slice(0, first, first + optimizer.groups()[0].grad.numel()));
    optimizer.step(kRate, torch::full({1}, 0.5f));
  }
}

std::vector<torch::Tensor> random_gradients(int64_t count, uint64_t seed) {
  std::vector<torch::Tensor> grads;
  for (int64_t i = 0; i < count; ++i) grads.push_back(random_weights(seed + static_cast<uint64_t>(i)));
  return grads;
}

TEST(EveryRule, ItsStateAndStepCountAreAllThereIsToRestore) {
  for (const std::vector<std::string>& options : option_sets()) {
    const OptimizerConfig config = config_of(options);
    const auto uninterrupted = make_optimizer({.groups = {whole_model(random_weights(1))}, .config = config});
    take_steps(*uninterrupted, random_gradients(4, 10), 0);

    // Other weights at first, which must leave no trace.
    const auto resumed = make_optimizer({.groups = {whole_model(random_weights(2))}, .config = config});
    resumed->groups()[0].master.copy_(uninterrupted->groups()[0].master);
    const std::vector<StateTensor> from = uninterrupted->state(), to = resumed->state();
    ASSERT_EQ(from.size(), to.size());
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(from[i].name, to[i].name);
      EXPECT_EQ(from[i].tensor.sizes(), to[i].tensor.sizes());
      to[i].tensor.copy_(from[i].tensor);
    }
    resumed->set_step_count(uninterrupted->step_count());
    for (Optimizer* optimizer : {uninterrupted.get(), resumed.get()}) {
      take_steps(*optimizer, random_gradients(3, 20), 0);
    }
    EXPECT_TRUE(torch::equal(uninterrupted->groups()[0].master, resumed->groups()[0].master)) << text_of(options);
  }
}

TEST(EveryRule, StartsAnewFromThePresentWeights) {
  for (const std::vector<std::string>& options : option_sets()) {
    const OptimizerConfig config = config_of(options);
    const auto used = make_optimizer({.groups = {whole_model(random_weights(1))}, .config = config});
    take_steps(*used, random_gradients(3, 10), 0);
    const torch::Tensor weights = random_weights(2);
    used->groups()[0].master.copy_(weights);
    used->set_step_count(0);
    used->restart();
    const auto fresh = make_optimizer({.groups = {whole_model(weights)}, .config = config});
    for (Optimizer* optimizer : {used.get(), fresh.get()}) take_steps(*optimizer, random_gradients(3, 20), 0);
    EXPECT_TRUE(torch::equal(used->groups()[0].master, fresh->groups()[0].master)) << text_of(options);
  }
}

// Sums have another order; rules that derive their step size from sums amplify the difference.
double tolerance_of(const OptimizerConfig& config) {
  const bool estimates = optimizer_rule(config.name).finds_step_size() || config.name == "ProdigyPlusScheduleFree";
  return estimates ? 1e-4 : 2e-6;
}

// Ranks that are threads: what they pass is added up, or the largest taken, in the order of the ranks.
class ThreadRanks {
 public:
  explicit ThreadRanks(int count) : count_(count), barrier_(count), passed_(static_cast<size_t>(count)) {}

  RankSums ranks_of(int rank) {
    return RankSums([this, rank](const torch::Tensor& x, Reduce op) {
      passed_[static_cast<size_t>(rank)] = x.clone();
      barrier_.arrive_and_wait();
      torch::Tensor result = passed_[0].clone();
      for (int other = 1; other < count_; ++other) {
        const torch::Tensor& y = passed_[static_cast<size_t>(other)];
        result = op == Reduce::kSum ? result + y : torch::maximum(result, y);
      }
      barrier_.arrive_and_wait();
      x.copy_(result);
    });
  }

 private:
  int count_;
  std::barrier<> barrier_;
  std::vector<torch::Tensor> passed_;
};

// Cut inside the large matrix, in the middle of a row and of a block of 256, and inside the others.
TEST(EveryRule, TakesTheSameStepsOnPartsOfTheParameters) {
  const std::vector<int64_t> cuts = {0, 1003, 1100, 4775, model_size() - kPadding - 11, model_size()};
  const std::vector<torch::Tensor> grads = random_gradients(5, 10);
  for (const std::vector<std::string>& options : option_sets()) {
    const OptimizerConfig config = config_of(options);
    const auto alone = make_optimizer({.groups = {whole_model(random_weights(1))}, .config = config});
    take_steps(*alone, grads, 0);

    const auto count = static_cast<int>(cuts.size()) - 1;
    ThreadRanks ranks(count);
    std::vector<torch::Tensor> parts(static_cast<size_t>(count));
    const torch::Tensor weights = random_weights(1);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < count; ++rank) {
      threads.emplace_back([&, rank] {
        const auto i = static_cast<size_t>(rank);
        const FlatGroup part = part_of_model(weights, cuts[i], cuts[i + 1]);
        const auto optimizer = make_optimizer({.groups = {part}, .config = config, .ranks = ranks.ranks_of(rank)});
        take_steps(*optimizer, grads, cuts[i]);
        parts[i] = optimizer->groups()[0].master;
      });
    }
    for (std::thread& thread : threads) thread.join();
    const torch::Tensor together = torch::cat(parts), expected = alone->groups()[0].master;
    const double error = (together - expected).abs().max().item<double>();
    EXPECT_LE(error, tolerance_of(config)) << text_of(options);
  }
}

// The columns of each matrix that a rank of two has, back to back, with the whole vector, as tensor parallelism lays
// them out. Of "wide" the cut is between blocks of 256.
struct Columns {
  int64_t begin, size;
};
Columns columns_of(const WholeParameter& parameter, int rank) {
  const int64_t all = parameter.shape.back(), cut = all % 256 == 0 ? 256 : all / 2;
  if (parameter.shape.size() == 1) return {0, all};
  return rank == 0 ? Columns{0, cut} : Columns{cut, all - cut};
}

torch::Tensor columns_of_model(const torch::Tensor& flat, int rank) {
  std::vector<torch::Tensor> parts;
  int64_t begin = 0;
  for (const WholeParameter& parameter : model()) {
    const Columns own = columns_of(parameter, rank);
    const torch::Tensor whole = flat.narrow(0, begin, size_of(parameter)).view(parameter.shape);
    parts.push_back(whole.narrow(-1, own.begin, own.size).flatten());
    begin += size_of(parameter) + kPadding;
  }
  return torch::cat(parts);
}

FlatGroup group_of_columns(const torch::Tensor& weights, int rank) {
  FlatGroup group;
  group.name = "parameters";
  group.master = columns_of_model(weights, rank);
  group.grad = torch::zeros_like(group.master);
  group.whole_parameters = model();
  int64_t begin = 0;
  for (const WholeParameter& parameter : model()) {
    const Columns own = columns_of(parameter, rank);
    ParameterRange range{.name = parameter.name, .begin = begin, .global_shape = parameter.shape};
    range.size = size_of(parameter) / parameter.shape.back() * own.size;
    range.primary = parameter.shape.size() > 1 || rank == 0;
    if (parameter.shape.size() > 1) {
      range.start = {0, own.begin};
      range.shape = {parameter.shape[0], own.size};
      range.row_stride = own.size;
    }
    begin += range.size;
    group.parameters.push_back(std::move(range));
  }
  return group;
}

TEST(EveryRule, TakesTheSameStepsOnColumnsOfMatrices) {
  const std::vector<torch::Tensor> grads = random_gradients(5, 10);
  const torch::Tensor weights = random_weights(1);
  for (const std::vector<std::string>& options : option_sets()) {
    const OptimizerConfig config = config_of(options);
    const auto alone = make_optimizer({.groups = {whole_model(weights)}, .config = config});
    take_steps(*alone, grads, 0);

    ThreadRanks ranks(2);
    std::array<torch::Tensor, 2> parts;
    std::array<std::string, 2> refusals;
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        const auto i = static_cast<size_t>(rank);
        try {
          const auto optimizer = make_optimizer(
              {.groups = {group_of_columns(weights, rank)}, .config = config, .ranks = ranks.ranks_of(rank)});
          for (const torch::Tensor& grad : grads) take_steps(*optimizer, {columns_of_model(grad, rank)}, 0);
          parts[i] = optimizer->groups()[0].master;
        } catch (const ConfigError& error) {
          refusals[i] = error.what();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const bool is_sliced = config.name == "ProdigyPlusScheduleFree" || config.slice_p.value_or(1) > 1;
    for (int rank = 0; rank < 2; ++rank) {
      const auto i = static_cast<size_t>(rank);
      EXPECT_EQ(!refusals[i].empty(), is_sliced) << text_of(options) << ": " << refusals[i];
      if (is_sliced) continue;
      const torch::Tensor expected = columns_of_model(alone->groups()[0].master, rank);
      const double error = (parts[i] - expected).abs().max().item<double>();
      EXPECT_LE(error, tolerance_of(config)) << text_of(options);
    }
  }
}

TEST(EveryRule, LendsWeightsAndTakesThemBackBitForBit) {
  for (const std::vector<std::string>& options : option_sets()) {
    FlatGroup plain = whole_model(random_weights(1)), mixed = whole_model(random_weights(2));
    mixed.name = "mixed";
    for (ParameterRange& range : mixed.parameters) range.name += "_too";
    for (WholeParameter& parameter : mixed.whole_parameters) parameter.name += "_too";
    mixed.model_copy = mixed.master.to(torch::kBFloat16);
    const OptimizerConfig config = config_of(options);
    const auto optimizer = make_optimizer({.groups = {plain, mixed}, .config = config});
    // Steps that even bfloat16 weights notice: a rule that estimates its own starts with a millionth, and rectified
    // averages with none at all.
    const double rate = config.name == "ProdigyPlusScheduleFree" ? 1e3 : kRate;
    for (const torch::Tensor& grad : random_gradients(7, 10)) {
      for (const FlatGroup& group : optimizer->groups()) group.grad.copy_(grad);
      optimizer->step(rate);
    }
    EXPECT_TRUE(torch::equal(mixed.model_copy, mixed.master.to(torch::kBFloat16))) << text_of(options);
    const torch::Tensor before = plain.master.clone(), copy_before = mixed.model_copy.clone();
    const std::vector<torch::Tensor> averaged = optimizer->averaged_weights();
    if (const auto lent = optimizer->evaluation_weights()) {
      EXPECT_FALSE(torch::equal(plain.master, before)) << text_of(options);
      ASSERT_EQ(averaged.size(), 2u) << text_of(options);
      EXPECT_TRUE(torch::equal(plain.master, averaged[0])) << text_of(options);
      EXPECT_TRUE(torch::equal(mixed.model_copy, averaged[1].to(torch::kBFloat16))) << text_of(options);
      EXPECT_FALSE(torch::equal(mixed.model_copy, copy_before)) << text_of(options);
    }
    EXPECT_TRUE(torch::equal(plain.master, before)) << text_of(options);
    EXPECT_TRUE(torch::equal(mixed.model_copy, copy_before)) << text_of(options);
  }
}

TEST(EveryRule, TrainsWeightsKeptInBf16Alone) {
  for (const std::vector<std::string>& options : option_sets()) {
    FlatGroup narrow = whole_model(random_weights(1)), exact = whole_model(random_weights(1));
    narrow.master = narrow.master.to(torch::kBFloat16);
    narrow.grad = narrow.grad.to(torch::kBFloat16);
    exact.master.copy_(narrow.master);
    const torch::Tensor before = exact.master.clone();
    for (const FlatGroup& group : {narrow, exact}) {
      const auto optimizer = make_optimizer({.groups = {group}, .config = config_of(options)});
      for (const torch::Tensor& grad : random_gradients(4, 10)) {
        group.grad.copy_(grad);
        optimizer->step(kRate);
      }
    }
    const torch::Tensor moved = (exact.master - before).abs().max();
    const torch::Tensor error = (narrow.master.to(torch::kFloat32) - exact.master).abs().max();
    // Four roundings of a number of at most 4, and what a rule makes of rounded gradients.
    EXPECT_LE(error.item<double>(), 0.1 + 0.5 * moved.item<double>()) << text_of(options);
    EXPECT_TRUE(narrow.master.isfinite().all().item<bool>()) << text_of(options);
  }
}

TEST(EveryRule, BringsAnAverageUpToDate) {
  for (const OptimizerRule& rule : optimizer_rules()) {
    OptimizerConfig config;
    config.name = rule.name;
    const auto optimizer = make_optimizer({.groups = {whole_model(random_weights(1))}, .config = config});
    MovingAverage average(optimizer->groups(), 0.9), expected(optimizer->groups(), 0.9);
    optimizer->set_average(&average);
    int64_t step = 0;
    for (const torch::Tensor& grad : random_gradients(3, 10)) {
      take_steps(*optimizer, {grad}, 0);
      expected.update(++step);
    }
    EXPECT_TRUE(torch::allclose(average.buffers()[0], expected.buffers()[0], 1e-6, 1e-7)) << rule.name;
  }
}

TEST(EveryRule, CanBePlannedWithoutMemory) {
  for (const std::vector<std::string>& options : option_sets()) {
    FlatGroup group = whole_model(random_weights(1));
    group.master = group.master.to(torch::kMeta);
    group.grad = group.grad.to(torch::kMeta);
    const auto optimizer = make_optimizer({.groups = {group}, .config = config_of(options)});
    optimizer->step(kRate);
    EXPECT_EQ(optimizer->step_count(), 1) << text_of(options);
  }
}

// On the meta device and elsewhere the state takes what the documentation says.
TEST(EveryRule, KeepsAsManyBytesPerParameterAsDocumented) {
  const std::map<std::string, double> bytes_per_element = {
      {"name=AdamW", 8},
      {"name=Adam", 8},
      {"name=AdamW8bit", 2},
      {"name=Lion", 4},
      {"name=SGD", 0},
      {"name=Prodigy", 16},
      {"name=AdamWScheduleFree", 8},
      {"name=Adafactor", 0},
      {"name=ProdigyPlusScheduleFree", 4 + 4.0 / 11},
      {"name=ProdigyPlusScheduleFree factored=false d0=1e-3 use_bias_correction=true", 8 + 4.0 / 11},
      {"name=Prodigy slice_p=3 d0=1e-3 weight_decay=0.1 use_bias_correction=true", 8 + 8.0 / 3},
      {"name=SGD momentum=0.9 dampening=0.5", 4},
  };
  FlatGroup group;
  group.name = "parameters";
  group.master = torch::zeros({1 << 20}, torch::kMeta);
  group.grad = torch::zeros_like(group.master);
  group.parameters = {{.name = "matrix", .size = 1 << 20, .global_shape = {1 << 10, 1 << 10}}};
  for (const std::vector<std::string>& options : option_sets()) {
    const auto expected = bytes_per_element.find(text_of(options));
    if (expected == bytes_per_element.end()) continue;
    const auto optimizer = make_optimizer({.groups = {group}, .config = config_of(options)});
    double bytes = 0;
    for (const StateTensor& state : optimizer->state()) bytes += static_cast<double>(state.tensor.nbytes());
    EXPECT_NEAR(bytes / (1 << 20), expected->second, 0.04) << text_of(options);
  }
}

}  // namespace
}  // namespace millrace
