#include "kernels/flat_update/flat_update_cases.h"

#include "kernels/philox_fill/philox_fill.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor random_values(int64_t n, uint64_t id) {
  const Tensor x = torch::empty({1, n});
  philox_fill_normal_reference(x, {random_stream(23, RandomPurpose::kInit, 0, id)});
  return x.view({-1});
}

}  // namespace

FlatUpdateBuffers FlatUpdateCase::buffers(int64_t size, torch::ScalarType param_type, torch::Device device) const {
  FlatUpdateBuffers buffers;
  buffers.param = random_values(size, 1).to(param_type).to(device);
  buffers.grad = random_values(size, 2).to(device);
  // Averages of gradients, and starting points near the weights.
  const size_t num_states = num_states_of(rule);
  for (size_t i = 0; i < num_states; ++i) buffers.states.push_back((random_values(size, 3 + i) * 0.1).to(device));
  // Those that are averages of squares.
  for (const size_t squared : {size_t{1}, size_t{2}}) {
    if (num_states > squared) buffers.states[squared].square_();
  }
  return buffers;
}

torch::Tensor FlatUpdateCase::new_sums(torch::Device device) const {
  if (!has_sums(rule)) return {};
  return torch::zeros({3}, torch::dtype(torch::kFloat64).device(device));
}

std::vector<FlatUpdateCase> flat_update_cases() {
  const FlatUpdateNumbers prodigy = {.weight_decay = 0.01,
                                     .grad_share = 0.3,
                                     .beta1 = 0.9,
                                     .one_minus_beta1 = 0.02,
                                     .beta2 = 0.99,
                                     .one_minus_beta2 = 0.0004,
                                     .beta3 = 0.995};
  const FlatUpdateNumbers dadapt = {.weight_decay = 0.01,
                                    .grad_share = 0.3,
                                    .state_share = 1,
                                    .beta1 = 0.9,
                                    .one_minus_beta1 = 0.02,
                                    .beta2 = 0.92,
                                    .one_minus_beta2 = 0.05,
                                    .beta3 = 0.995,
                                    .one_minus_beta3 = 0.005,
                                    .eps = 1e-3};
  return {
      {FlatRule::kLion,
       {.decay = 0.999,
        .step_size = 1e-2,
        .beta1 = 0.9,
        .one_minus_beta1 = 0.1,
        .beta2 = 0.99,
        .one_minus_beta2 = 0.01}},
      {FlatRule::kMomentumSgd,
       {.weight_decay = 0.01,
        .step_size = 1e-2,
        .grad_share = 1,
        .state_share = 0.9,
        .beta1 = 0.9,
        .one_minus_beta1 = 0.8}},
      {FlatRule::kPlainSgd, {.weight_decay = 0.01, .step_size = 1e-2}},
      {FlatRule::kScheduleFree,
       {.weight_decay = 0.01,
        .step_size = 1e-2,
        .beta2 = 0.99,
        .one_minus_beta2 = 0.01,
        .eps = 1e-8,
        .bias_correction2 = 0.5,
        .mix = 0.25,
        .lookahead = -0.003}},
      {FlatRule::kProdigyMoments, prodigy},
      {FlatRule::kScaledMoments, prodigy},
      {FlatRule::kProdigyStep, {.decay = 0.999, .step_size = 1e-2, .eps = 1e-8}},
      {FlatRule::kScheduleFreeStep, {.weight_decay = 0.01, .step_size = 1e-2, .mix = 0.25, .lookahead = -0.003}},
      {FlatRule::kDAdaptAdamMoments, dadapt},
      {FlatRule::kDAdaptPreprintMoments, dadapt},
      {FlatRule::kDAdaptLionMoments, dadapt},
      {FlatRule::kDAdaptSgdMoments, dadapt},
      {FlatRule::kDAdaptAdaGradMoments, dadapt},
      {FlatRule::kDAdaptAdanMoments, dadapt},
      {FlatRule::kDAdaptAdanIpMoments, dadapt},
      {FlatRule::kAdanStep, {.decay = 0.999, .step_size = 1e-2, .beta2 = 0.92, .eps = 1e-3}},
      {FlatRule::kDualAveragingStep, {.grad_share = 0.3, .state_share = 0.7}},
      {FlatRule::kDualAveragingScaledStep, {.grad_share = 0.3, .state_share = 0.7, .eps = 1e-3}},
  };
}

FlatUpdateBuffers copy_of(const FlatUpdateBuffers& buffers) {
  FlatUpdateBuffers copy = buffers;
  for (Tensor* x : {&copy.param, &copy.grad, &copy.model_copy, &copy.average}) {
    if (x->defined()) *x = x->clone();
  }
  for (Tensor& state : copy.states) state = state.clone();
  return copy;
}

FlatUpdateBuffers part_of(const FlatUpdateBuffers& buffers, int64_t begin, int64_t size) {
  FlatUpdateBuffers part = buffers;
  for (Tensor* x : {&part.param, &part.grad, &part.model_copy, &part.average}) {
    if (x->defined()) *x = x->narrow(0, begin, size);
  }
  for (Tensor& state : part.states) state = state.narrow(0, begin, size);
  part.first_element = buffers.first_element + static_cast<uint64_t>(begin);
  return part;
}

}  // namespace millrace
