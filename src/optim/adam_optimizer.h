// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) over flat groups, as in torch.optim.
//
// State per element: "exp_avg" and "exp_avg_sq", in fp32 (bf16 for bf16 masters).
#pragma once

#include <cstdint>
#include <vector>

#include "optim/optimizer.h"

namespace millrace {

enum class WeightDecay {
  kDecoupled,  // AdamW: p *= 1 - lr * weight_decay
  kL2,         // Adam: grad += weight_decay * p
};

struct AdamOptimizerOptions {
  WeightDecay decay_mode = WeightDecay::kDecoupled;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  bool stochastic_rounding = true;  // of bf16 masters and their moments
  uint64_t seed = 0;                // of the rounding
};

class AdamOptimizer : public Optimizer {
 public:
  // Moments start at 0. Throws ConfigError for options outside their range.
  AdamOptimizer(std::vector<FlatGroup> groups, const AdamOptimizerOptions& options);

  std::vector<StateTensor> state() const override;
  void restart() override;
  bool steps_by_group() const override { return true; }
  void set_momentum(double momentum) override { options_.beta1 = momentum; }

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;
  void update_group(size_t group, double lr, const torch::Tensor& coefficient_1) override;
  bool updates_average() const override { return true; }

 private:
  AdamOptimizerOptions options_;
  std::vector<torch::Tensor> exp_avgs_, exp_avg_sqs_;
};

}  // namespace millrace
