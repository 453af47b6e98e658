// AdamW with 8-bit moments in blocks of 256 elements of each parameter (kernels/adamw8bit), as in bitsandbytes
// 0.50. Parameters of fewer than 4096 elements keep fp32 moments and AdamW's step.
//
// State per element of a large parameter: the codes "state1" and "state2", uint8; per block "absmax1" and "absmax2",
// fp32, a parameter's complete set on every rank; per element of a small one "exp_avg" and "exp_avg_sq", fp32.
//
// Blocks are counted through the whole parameter, on any number of ranks, so that its codes do not depend on them. Of a
// box of a matrix (tensor parallelism) each row is a run of its own; where the box is made of whole blocks, all of its
// rows are one run of them, unless weights are in bf16, whose random bits go by an element's place in the parameter.
#pragma once

#include <vector>

#include "kernels/adamw8bit/adamw8bit.h"
#include "optim/optimizer.h"
#include "optim/rank_sums.h"

namespace millrace {

struct AdamW8bitOptimizerOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  bool stochastic_rounding = true;  // of bf16 masters
  uint64_t seed = 0;                // of the random bits
};

class AdamW8bitOptimizer : public Optimizer {
 public:
  AdamW8bitOptimizer(std::vector<FlatGroup> groups, const AdamW8bitOptimizerOptions& options, const RankSums& ranks);

  std::vector<StateTensor> state() const override;
  void restart() override;
  bool steps_by_group() const override { return ranks_.is_alone(); }
  void set_momentum(double momentum) override { options_.beta1 = momentum; }

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;
  void update_group(size_t group, double lr, const torch::Tensor& coefficient_1) override;

 private:
  // A large parameter's scales: parts of scales_ and of new_scales_. Every rank has all of them.
  struct Quantized {
    std::string name;
    torch::Tensor m_scales, v_scales, new_m_scales, new_v_scales;
  };
  // The part of a parameter in this rank's buffers.
  struct Part {
    ParameterRange range;
    const Quantized* quantized = nullptr;  // null: a small one
    torch::Tensor exp_avg, exp_avg_sq;     // of a small one
  };
  struct Group {
    torch::Tensor m_codes, v_codes;  // as long as the group
    std::vector<Part> parts;
    std::vector<size_t> large_ranges;  // which of the group's parameters have codes
  };
  enum class Pass { kWhole, kGatherScales, kWithScales };

  void make_scales();
  void make_parts(size_t group);
  void step_small(const FlatGroup& group, const Part& part, double lr, const torch::Tensor& coefficient_1) const;
  void run_large(Pass pass, size_t group, const Part& part, double lr, const torch::Tensor& coefficient_1) const;
  // Elements [begin, begin + size) of the group's buffers, the first of which is first_element of what the scales are
  // of.
  struct Run {
    int64_t begin = 0, size = 0, first_element = 0;
  };
  void run_run(Pass pass, const FlatGroup& group, const Group& state, const Run& run, const Quantized& scales,
               const AdamW8bitOptions& options, const torch::Tensor& coefficient_1) const;
  void run_all_large(Pass pass, double lr, const torch::Tensor& coefficient_1) const;
  void run_group(Pass pass, size_t group, double lr, const torch::Tensor& coefficient_1) const;
  void step_others(size_t group, double lr, const torch::Tensor& coefficient_1) const;

  AdamW8bitOptimizerOptions options_;
  RankSums ranks_;
  CodeTables tables_;
  std::vector<Quantized> quantized_;
  std::vector<Group> parts_;           // one per group
  torch::Tensor scales_, new_scales_;  // new_scales_: where ranks share blocks
};

}  // namespace millrace
