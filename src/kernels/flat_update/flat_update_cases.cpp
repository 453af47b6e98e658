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
  for (size_t i = 0; i < num_states; ++i) buffers.states.push_back((random_values(size, 3 + i) * 0.1).to(device));
  const bool second_is_squared = num_states >= 2;
  if (second_is_squared) buffers.states[1].square_();
  return buffers;
}

torch::Tensor FlatUpdateCase::new_sums(torch::Device device) const {
  if (rule != FlatRule::kProdigyMoments) return {};
  return torch::zeros({2}, torch::dtype(torch::kFloat64).device(device));
}

std::vector<FlatUpdateCase> flat_update_cases() {
  const FlatUpdateNumbers prodigy = {.weight_decay = 0.01,
                                     .grad_share = 0.3,
                                     .beta1 = 0.9,
                                     .one_minus_beta1 = 0.02,
                                     .beta2 = 0.99,
                                     .one_minus_beta2 = 0.0004,
                                     .beta3 = 0.995};
  return {
      {FlatRule::kLion,
       {.decay = 0.999,
        .step_size = 1e-2,
        .beta1 = 0.9,
        .one_minus_beta1 = 0.1,
        .beta2 = 0.99,
        .one_minus_beta2 = 0.01},
       1},
      {FlatRule::kMomentumSgd,
       {.weight_decay = 0.01,
        .step_size = 1e-2,
        .grad_share = 1,
        .state_share = 0.9,
        .beta1 = 0.9,
        .one_minus_beta1 = 0.8},
       1},
      {FlatRule::kPlainSgd, {.weight_decay = 0.01, .step_size = 1e-2}, 0},
      {FlatRule::kScheduleFree,
       {.weight_decay = 0.01,
        .step_size = 1e-2,
        .beta2 = 0.99,
        .one_minus_beta2 = 0.01,
        .eps = 1e-8,
        .bias_correction2 = 0.5,
        .mix = 0.25,
        .lookahead = -0.003},
       2},
      {FlatRule::kProdigyMoments, prodigy, 4},
      {FlatRule::kScaledMoments, prodigy, 2},
      {FlatRule::kProdigyStep, {.decay = 0.999, .step_size = 1e-2, .eps = 1e-8}, 2},
      {FlatRule::kScheduleFreeStep, {.weight_decay = 0.01, .step_size = 1e-2, .mix = 0.25, .lookahead = -0.003}, 1},
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
