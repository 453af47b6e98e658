// The formulas of the element-wise rules, once for CPUs and GPUs: V is a vector of floats or one float. Included by
// flat_update_isa.cpp and flat_update_cuda.cu after the definitions of MILLRACE_RULE (how functions are declared) and
// square_root(V).
//
// A rule defines its number of states, of which the first kWrittenStates change, whether it writes the weights, and
// apply(a, p, g, s, sums): p the weights, g the clipped gradient, s[i] the states, sums[i] its contribution to sums
// over all elements. A rule that writes the weights leaves zeros in the gradients.
#pragma once

#include "kernels/flat_update/flat_update_raw.h"

namespace millrace {
namespace {

template <typename V>
MILLRACE_RULE V sign_of(V x) {
  const V zero = x - x, one = zero + 1.0f;
  return x > zero ? one : (x < zero ? zero - one : zero);
}
template <typename V>
MILLRACE_RULE V magnitude_of(V x) {
  return x < x - x ? -x : x;
}

// Evolved sign momentum (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"), in lion-pytorch's order.
struct LionRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    const V direction = sign_of(s[0] * a.beta1 + g * a.one_minus_beta1);
    p = p * a.decay - a.step_size * direction;
    s[0] = s[0] * a.beta2 + g * a.one_minus_beta2;
  }
};

// torch.optim.SGD with momentum: beta1 is the momentum, one_minus_beta1 the gradient's share of it (1 - dampening,
// and 1 in the first step). The update is grad_share * g + state_share * momentum: Nesterov's looks ahead.
struct MomentumSgdRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    g = g + a.weight_decay * p;
    s[0] = s[0] * a.beta1 + g * a.one_minus_beta1;
    p = p - a.step_size * (a.grad_share * g + a.state_share * s[0]);
  }
};

struct PlainSgdRule {
  static constexpr int kStates = 0, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* /*s*/, V* /*sums*/) {
    p = p - a.step_size * (g + a.weight_decay * p);
  }
};

// Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"), in schedulefree's order. p is y, the point
// where gradients are taken; s[0] is z, s[1] the squared average.
struct ScheduleFreeRule {
  static constexpr int kStates = 2, kWrittenStates = 2, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
    const V direction = g / (square_root(s[1] / a.bias_correction2) + a.eps) + a.weight_decay * p;
    p = p + a.mix * (s[0] - p);
    p = p + a.lookahead * direction;
    s[0] = s[0] - a.step_size * direction;
  }
};

// The same for a direction that is already known: g is the step, s[0] is z.
struct ScheduleFreeStepRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    const V direction = g + a.weight_decay * p;
    p = p + a.mix * (s[0] - p);
    p = p + a.lookahead * direction;
    s[0] = s[0] - a.step_size * direction;
  }
};

// Prodigy (Mishchenko and Defazio 2023), the half before d is known: s = { m, v, s, p0 }. one_minus_beta1 includes the
// factor d, one_minus_beta2 d^2; grad_share is the gradient's share of s. Sums: <g, p0 - p> and |s|.
struct ProdigyMomentsRule {
  static constexpr int kStates = 4, kWrittenStates = 3, kSums = 2;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* sums) {
    g = g + a.weight_decay * p;
    sums[0] = g * (s[3] - p);
    s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
    s[2] = s[2] * a.beta3 + a.grad_share * g;
    sums[1] = magnitude_of(s[2]);
  }
};

// The same without the estimate of d, for weights of which only every n-th takes part in the estimate.
struct ScaledMomentsRule {
  static constexpr int kStates = 2, kWrittenStates = 2, kSums = 0;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    g = g + a.weight_decay * p;
    s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
  }
};

// The other half: step_size is the previous d * lr, eps includes the new d.
struct ProdigyStepRule {
  static constexpr int kStates = 2, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = false;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V /*g*/, V* s, V* /*sums*/) {
    p = p * a.decay;
    p = p - a.step_size * s[0] / (square_root(s[1]) + a.eps);
  }
};

}  // namespace
}  // namespace millrace
