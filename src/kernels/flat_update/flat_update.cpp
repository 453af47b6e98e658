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
  bool sums;
};
constexpr RuleFacts kFacts[kFlatRules] = {{"lion", 1, false},           {"momentum sgd", 1, false},
                                          {"plain sgd", 0, false},      {"schedule-free", 2, false},
                                          {"prodigy moments", 4, true}, {"scaled moments", 2, false},
                                          {"prodigy step", 2, false},   {"schedule-free step", 1, false}};

const RuleFacts& facts_of(FlatRule rule) {
  return kFacts[static_cast<size_t>(rule)];
}

void check_buffers(FlatRule rule, const FlatUpdateBuffers& buffers, const FlatUpdateOptions& options,
                   const Tensor& clip_coefficient, const Tensor& sums_2) {
  check_buffer(buffers.param, buffers.param);
  check_buffer(buffers.grad, buffers.param);
  MILLRACE_CHECK(buffers.states.size() == facts_of(rule).states);
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
  MILLRACE_CHECK(sums_2.defined() == facts_of(rule).sums);
  if (sums_2.defined()) {
    MILLRACE_CHECK(sums_2.is_contiguous() && sums_2.numel() == kFlatSums && sums_2.scalar_type() == torch::kFloat64);
    MILLRACE_CHECK(sums_2.device() == buffers.param.device());
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

void flat_update(FlatRule rule, const FlatUpdateNumbers& numbers, const FlatUpdateBuffers& buffers,
                 const FlatUpdateOptions& options, const Tensor& clip_coefficient, const Tensor& sums_2) {
  check_buffers(rule, buffers, options, clip_coefficient, sums_2);
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
      .eps = narrow(numbers.eps),
      .bias_correction2 = narrow(numbers.bias_correction2),
      .mix = narrow(numbers.mix),
      .lookahead = narrow(numbers.lookahead),
      .one_minus_average_decay = narrow(1 - options.average_decay),
      .stochastic = options.stochastic_rounding,
      .param_stream = rounding_stream(options.seed, options.step, buffers.stream, RoundedTensor::kParam),
  };
  for (size_t i = 0; i < buffers.states.size(); ++i) args.states[i] = buffers.states[i].data_ptr<float>();
  double* const sums = sums_2.defined() ? sums_2.data_ptr<double>() : nullptr;
  if (!on_cuda(buffers.param)) return update_on_cpu(rule, args, sums);
  const DeviceScope scope(buffers.param);
  Tensor partials;
  if (sums != nullptr) {
    partials = torch::empty({flat_update_partials_size(args.size)}, sums_2.options());
  }
  flat_update_cuda(static_cast<int>(rule), args, sums != nullptr ? partials.data_ptr<double>() : nullptr, sums,
                   cuda_stream(buffers.param));
}

}  // namespace millrace
