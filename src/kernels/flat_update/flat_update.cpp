#include "kernels/flat_update/flat_update.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"
#include "kernels/flat_update/flat_update_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {
namespace {

using torch::Tensor;

struct RuleFacts {
  const char* name;
  size_t states;
  bool sums, writes;
};
constexpr RuleFacts kFacts[kFlatRules] = {
    {"lion", 1, false, true},
    {"momentum sgd", 1, false, true},
    {"plain sgd", 0, false, true},
    {"schedule-free", 2, false, true},
    {"prodigy moments", 4, true, false},
    {"scaled moments", 2, false, false},
    {"prodigy step", 2, false, true},
    {"schedule-free step", 1, false, true},
    {"d-adapt adam moments", 3, true, false},
    {"d-adapt preprint moments", 3, true, false},
    {"d-adapt lion moments", 2, true, false},
    {"d-adapt sgd moments", 1, true, false},
    {"d-adapt adagrad moments", 2, true, false},
    {"d-adapt adan moments", 5, true, false},
    {"d-adapt adan-ip moments", 5, true, false},
    {"adan step", 3, false, true},
    {"dual averaging step", 2, false, true},
    {"dual averaging scaled step", 3, false, true},
};

const RuleFacts& facts_of(FlatRule rule) {
  return kFacts[static_cast<size_t>(rule)];
}

void check_buffers(FlatRule rule, const FlatUpdateBuffers& buffers, const FlatUpdateOptions& options,
                   const Tensor& clip_coefficient, const Tensor& sums_3) {
  check_buffer(buffers.param, buffers.param);
  check_buffer(buffers.grad, buffers.param);
  MILLRACE_CHECK(buffers.states.size() == num_states_of(rule));
  for (const Tensor& state : buffers.states) {
    check_buffer(state, buffers.param);
    MILLRACE_CHECK(state.scalar_type() == torch::kFloat32);
  }
  if (buffers.model_copy.defined()) {
    check_buffer(buffers.model_copy, buffers.param);
    MILLRACE_CHECK(buffers.model_copy.scalar_type() == torch::kBFloat16);
  }
  if (buffers.average.defined()) {
    check_buffer(buffers.average, buffers.param);
    MILLRACE_CHECK(buffers.average.scalar_type() == torch::kFloat32);
  }
  if (clip_coefficient.defined()) {
    MILLRACE_CHECK(clip_coefficient.numel() == 1 && clip_coefficient.scalar_type() == torch::kFloat32);
    MILLRACE_CHECK(clip_coefficient.device() == buffers.param.device());
  }
  MILLRACE_CHECK(sums_3.defined() == has_sums(rule));
  if (sums_3.defined()) {
    MILLRACE_CHECK(sums_3.is_contiguous() && sums_3.numel() == kFlatSums && sums_3.scalar_type() == torch::kFloat64);
    MILLRACE_CHECK(sums_3.device() == buffers.param.device());
  }
  MILLRACE_CHECK(options.step >= 1 && buffers.stream < (uint64_t{1} << 62));
  constexpr uint64_t kStreamElements = uint64_t{1} << 35;  // two to a word
  MILLRACE_CHECK(buffers.first_element + static_cast<uint64_t>(buffers.param.numel()) <= kStreamElements);
}

void update_on_cpu(FlatRule rule, const FlatUpdateArgs& args, double* sums) {
  const auto kernel =
      MILLRACE_SELECT_KERNELS(flat_update_kernels)
          .update[static_cast<int>(rule)][static_cast<int>(args.param_type)][static_cast<int>(args.grad_type)];
  // A multiple of every level's tile. Sums are made piece by piece, independently of the number of threads.
  constexpr int64_t kPiece = 8192;
  const int64_t pieces = (args.size + kPiece - 1) / kPiece;
  std::vector<double> partials(static_cast<size_t>(sums != nullptr ? pieces * kFlatSums : 0));
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    if (sums == nullptr) return kernel(args, begin * kPiece, std::min(args.size, end * kPiece), nullptr);
    for (int64_t piece = begin; piece < end; ++piece) {
      kernel(args, piece * kPiece, std::min(args.size, (piece + 1) * kPiece), partials.data() + piece * kFlatSums);
    }
  });
  for (size_t i = 0; i < partials.size(); ++i) sums[i % kFlatSums] += partials[i];
}

}  // namespace

const char* name_of(FlatRule rule) {
  return facts_of(rule).name;
}

size_t num_states_of(FlatRule rule) {
  return facts_of(rule).states;
}

bool has_sums(FlatRule rule) {
  return facts_of(rule).sums;
}

bool writes_weights(FlatRule rule) {
  return facts_of(rule).writes;
}

void flat_update(FlatRule rule, const FlatUpdateNumbers& numbers, const FlatUpdateBuffers& buffers,
                 const FlatUpdateOptions& options, const Tensor& clip_coefficient, const Tensor& sums_3) {
  check_buffers(rule, buffers, options, clip_coefficient, sums_3);
  if (nothing_to_compute(buffers.param)) return;
  const auto narrow = [](double x) { return static_cast<float>(x); };
  FlatUpdateArgs args{
      .size = buffers.param.numel(),
      .param_type = element_type(buffers.param),
      .grad_type = element_type(buffers.grad),
      .param = buffers.param.data_ptr(),
      .grad = buffers.grad.data_ptr(),
      .states = {},
      .model_copy = buffers.model_copy.defined() ? buffers.model_copy.data_ptr() : nullptr,
      .average = buffers.average.defined() ? buffers.average.data_ptr<float>() : nullptr,
      .first_element = buffers.first_element,
      .clip_coefficient = clip_coefficient.defined() ? clip_coefficient.data_ptr<float>() : nullptr,
      .decay = narrow(numbers.decay),
      .weight_decay = narrow(numbers.weight_decay),
      .step_size = narrow(numbers.step_size),
      .grad_share = narrow(numbers.grad_share),
      .state_share = narrow(numbers.state_share),
      .beta1 = narrow(numbers.beta1),
      .one_minus_beta1 = narrow(numbers.one_minus_beta1),
      .beta2 = narrow(numbers.beta2),
      .one_minus_beta2 = narrow(numbers.one_minus_beta2),
      .beta3 = narrow(numbers.beta3),
      .one_minus_beta3 = narrow(numbers.one_minus_beta3),
      .eps = narrow(numbers.eps),
      .bias_correction2 = narrow(numbers.bias_correction2),
      .mix = narrow(numbers.mix),
      .lookahead = narrow(numbers.lookahead),
      .one_minus_average_decay = narrow(1 - options.average_decay),
      .stochastic = options.stochastic_rounding,
      .param_stream = rounding_stream(options.seed, options.step, buffers.stream, RoundedTensor::kParam),
  };
  for (size_t i = 0; i < buffers.states.size(); ++i) args.states[i] = buffers.states[i].data_ptr<float>();
  double* const sums = sums_3.defined() ? sums_3.data_ptr<double>() : nullptr;
  if (!on_cuda(buffers.param)) return update_on_cpu(rule, args, sums);
  const DeviceScope scope(buffers.param);
  Tensor partials;
  if (sums != nullptr) {
    partials = torch::empty({flat_update_partials_size(args.size)}, sums_3.options());
  }
  flat_update_cuda(static_cast<int>(rule), args, sums != nullptr ? partials.data_ptr<double>() : nullptr, sums,
                   cuda_stream(buffers.param));
}

}  // namespace millrace
