// Element-wise optimizer rules over flat buffers, in one pass each. All rules share one set of kernels; a rule is a
// formula of a few lines (flat_rules.h). Rules in optim/ put their numbers into FlatUpdateNumbers.
//
// All tensors are 1-D, contiguous, of one length N. Arithmetic is fp32. bf16 weights may be rounded stochastically, as
// in adamw.h.
#pragma once

#include <torch/types.h>

#include <vector>

namespace millrace {

enum class FlatRule : int {
  kLion,              // states { m }
  kMomentumSgd,       // states { momentum }
  kPlainSgd,          // no states
  kScheduleFree,      // states { z, v }
  kProdigyMoments,    // states { m, v, s, p0 }; sums <g, p0 - p> and |s|; leaves weights and gradients alone
  kScaledMoments,     // states { m, v }; leaves weights and gradients alone
  kProdigyStep,       // states { m, v }, unchanged; does not read the gradients
  kScheduleFreeStep,  // states { z }; the gradients are the step's direction

  // D-Adaptation. Those named moments leave weights and gradients alone; c is sqrt(v) + eps.
  kDAdaptAdamMoments,        // states { m, v, s }; sums <g, s / c> with the previous v, and |s|
  kDAdaptPreprintMoments,    // states { m, v, s }; sums g^2 / c, |s|, s^2 / c
  kDAdaptLionMoments,        // states { s, m }, of which m is unchanged; sums <u, s> of Lion's direction u, and |s|
  kDAdaptSgdMoments,         // states { s }; sums <g, s>, s^2
  kDAdaptAdaGradMoments,     // states { s, v }; sums as kDAdaptPreprintMoments
  kDAdaptAdanMoments,        // states { m, n, v, s, previous g }; sums as kDAdaptPreprintMoments
  kDAdaptAdanIpMoments,      // the same states; sums as kDAdaptAdamMoments
  kAdanStep,                 // states { m, n, v }, unchanged; does not read the gradients
  kDualAveragingStep,        // states { s, p0 }, unchanged; does not read the gradients
  kDualAveragingScaledStep,  // states { s, p0, v }, unchanged; does not read the gradients
};
const char* name_of(FlatRule rule);
size_t num_states_of(FlatRule rule);
bool has_sums(FlatRule rule);
bool writes_weights(FlatRule rule);

// The numbers in the formulas of flat_rules.h; each rule reads some of them.
struct FlatUpdateNumbers {
  double decay = 1, weight_decay = 0;
  double step_size = 0, grad_share = 0, state_share = 0;
  double beta1 = 0, one_minus_beta1 = 0, beta2 = 0, one_minus_beta2 = 0, beta3 = 0, one_minus_beta3 = 0;
  double eps = 0;
  double bias_correction2 = 1, mix = 0, lookahead = 0;
};

struct FlatUpdateBuffers {
  torch::Tensor param;                // fp32 or bf16
  torch::Tensor grad;                 // fp32 or bf16; gets zeros from a rule that writes the weights
  std::vector<torch::Tensor> states;  // fp32, the rule's number of them
  torch::Tensor model_copy;           // bf16, or undefined: gets the new weights, rounded to nearest
  torch::Tensor average;              // fp32, or undefined: average = decay * average + (1 - decay) * weights
  uint64_t stream = 0;                // of random numbers, and the index of element 0 in it: as in adamw.h
  uint64_t first_element = 0;
};

struct FlatUpdateOptions {
  int64_t step = 1;                 // of this update, counted from 1
  bool stochastic_rounding = true;  // of bf16 weights
  uint64_t seed = 0;
  double average_decay = 0;
};

// clip_coefficient: fp32, one element, on the buffers' device; undefined means 1. sums_3: fp64, three elements, on
// the buffers' device, to which the rule's sums are added, as many as it has; undefined for a rule without sums. Sums
// do not depend on the number of threads.
void flat_update(FlatRule rule, const FlatUpdateNumbers& numbers, const FlatUpdateBuffers& buffers,
                 const FlatUpdateOptions& options, const torch::Tensor& clip_coefficient = {},
                 const torch::Tensor& sums_3 = {});

// Composed of ATen's operations; fp32 weights, or bf16 rounded to nearest.
void flat_update_reference(FlatRule rule, const FlatUpdateNumbers& numbers, const FlatUpdateBuffers& buffers,
                           const FlatUpdateOptions& options, const torch::Tensor& clip_coefficient = {},
                           const torch::Tensor& sums_3 = {});

}  // namespace millrace
