// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) over flat groups, as torch.optim has them.
//
// What is kept per group: the moments, in fp32 (bf16 for bf16 masters), and with ema_decay the averaged weights in
// fp32.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "optim/flat_group.h"

namespace millrace {

enum class WeightDecay {
  kDecoupled,  // AdamW: p *= 1 - lr * weight_decay
  kL2,         // Adam: grad += weight_decay * p
};
WeightDecay parse_optimizer_name(std::string_view name);  // "AdamW", "Adam"; throws ConfigError

struct AdamOptimizerOptions {
  WeightDecay decay_mode = WeightDecay::kDecoupled;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  bool stochastic_rounding = true;  // of bf16 masters and their moments
  uint64_t seed = 0;                // of the rounding
  double ema_decay = 0;             // 0: no averaged weights; otherwise below 1
};

class AdamOptimizer {
 public:
  // Moments start at 0, averages at the present weights. The groups' tensors are shared, not copied.
  AdamOptimizer(std::vector<FlatGroup> groups, const AdamOptimizerOptions& options);

  // One update with this learning rate; leaves zeros in the gradients. coefficient_1: see clip.h; undefined means 1.
  void step(double lr, const torch::Tensor& coefficient_1 = {});

  int64_t step_count() const { return step_count_; }  // updates so far
  void set_step_count(int64_t count) { step_count_ = count; }

  // "<group>.exp_avg", "<group>.exp_avg_sq" and, with ema_decay, "<group>.ema": the tensors themselves, to save and to
  // load into. Together with the step count they are all there is to restore.
  std::vector<std::pair<std::string, torch::Tensor>> state() const;

  const std::vector<FlatGroup>& groups() const { return groups_; }
  const std::vector<torch::Tensor>& averages() const { return averages_; }  // empty without ema_decay
  // Sets the averages to the present weights: for weights that are loaded after construction.
  void restart_averages();

 private:
  std::vector<FlatGroup> groups_;
  AdamOptimizerOptions options_;
  int64_t step_count_ = 0;
  std::vector<torch::Tensor> exp_avgs_, exp_avg_sqs_, averages_;
};

}  // namespace millrace
