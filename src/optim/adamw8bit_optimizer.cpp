#include "optim/adamw8bit_optimizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "kernels/adamw/adamw.h"
#include "optim/option_check.h"

namespace millrace {
namespace {

constexpr int64_t kSmallest = 4096;  // the smallest parameter that gets codes, in elements

bool is_large(const std::vector<int64_t>& shape) {
  return c10::multiply_integers(shape) >= kSmallest;
}

// A box of whole blocks, without gaps between its rows.
bool is_of_whole_blocks(const ParameterRange& range) {
  const auto fits = [](int64_t size) { return size % kQuantizedBlock == 0; };
  return range.is_box() && range.row_stride == range.shape[1] && fits(range.global_shape[1]) && fits(range.start[1]) &&
         fits(range.shape[1]);
}

// The scales of its blocks, [rows, blocks of a row], as a view of those of the whole parameter.
torch::Tensor box_of_scales(const ParameterRange& range, const torch::Tensor& scales) {
  const int64_t in_row = range.global_shape[1] / kQuantizedBlock;
  return scales.view({range.global_shape[0], in_row})
      .narrow(0, range.start[0], range.shape[0])
      .narrow(1, range.start[1] / kQuantizedBlock, range.shape[1] / kQuantizedBlock);
}

// A box as a run for each of its rows; any other range as it is.
std::vector<ParameterRange> rows_of(const ParameterRange& range) {
  if (!range.is_box()) return {range};
  std::vector<ParameterRange> runs;
  for (int64_t row = 0; row < range.shape[0]; ++row) {
    runs.push_back({.name = range.name,
                    .begin = range.begin + row * range.row_stride,
                    .size = range.shape[1],
                    .offset = (range.start[0] + row) * range.global_shape[1] + range.start[1],
                    .global_shape = range.global_shape,
                    .primary = range.primary});
  }
  return runs;
}

}  // namespace

AdamW8bitOptimizer::AdamW8bitOptimizer(std::vector<FlatGroup> groups, const AdamW8bitOptimizerOptions& options,
                                       const RankSums& ranks)
    : Optimizer(std::move(groups)), options_(options), ranks_(ranks), tables_(this->groups().at(0).master.device()) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.eps > 0, "eps", "more than 0", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  make_scales();
  for (size_t i = 0; i < this->groups().size(); ++i) make_parts(i);
  restart();
}

// One buffer for all scales, so that one all-reduce suffices: for each parameter those of m, then those of v.
void AdamW8bitOptimizer::make_scales() {
  std::vector<std::pair<std::string, int64_t>> blocks_of;
  int64_t all = 0;
  for (const FlatGroup& group : groups()) {
    for (const WholeParameter& whole : whole_parameters_of(group)) {
      if (!is_large(whole.shape)) continue;
      blocks_of.emplace_back(whole.name, quantized_blocks(0, c10::multiply_integers(whole.shape)));
      all += 2 * blocks_of.back().second;
    }
  }
  scales_ = torch::zeros({all}, groups().front().master.options().dtype(torch::kFloat32));
  if (!ranks_.is_alone()) new_scales_ = torch::zeros_like(scales_);
  int64_t at = 0;
  for (const auto& [name, blocks] : blocks_of) {
    Quantized& quantized = quantized_.emplace_back();
    quantized.name = name;
    quantized.m_scales = scales_.narrow(0, at, blocks);
    quantized.v_scales = scales_.narrow(0, at + blocks, blocks);
    if (new_scales_.defined()) {
      quantized.new_m_scales = new_scales_.narrow(0, at, blocks);
      quantized.new_v_scales = new_scales_.narrow(0, at + blocks, blocks);
    }
    at += 2 * blocks;
  }
}

void AdamW8bitOptimizer::make_parts(size_t index) {
  const FlatGroup& group = groups()[index];
  Group& made = parts_.emplace_back();
  made.m_codes = torch::empty_like(group.master, torch::kUInt8);
  made.v_codes = torch::empty_like(group.master, torch::kUInt8);
  const std::vector<ParameterRange> ranges = parameters_or_whole(group);
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (is_large(ranges[i].global_shape)) {
      const auto found = std::find_if(quantized_.begin(), quantized_.end(),
                                      [&](const Quantized& of) { return of.name == ranges[i].name; });
      MILLRACE_CHECK(found != quantized_.end());
      made.parts.push_back({ranges[i], &*found, {}, {}});
      made.large_ranges.push_back(i);
      continue;
    }
    for (const ParameterRange& run : rows_of(ranges[i])) {
      const torch::Tensor zeros = torch::zeros({run.size}, group.master.options().dtype(torch::kFloat32));
      made.parts.push_back({run, nullptr, zeros, torch::zeros_like(zeros)});
    }
  }
}

void AdamW8bitOptimizer::restart() {
  const torch::NoGradGuard no_grad;
  scales_.zero_();
  for (const Group& group : parts_) {
    group.m_codes.fill_(zero_code(/*is_signed=*/true));
    group.v_codes.fill_(zero_code(/*is_signed=*/false));
    for (const Part& part : group.parts) {
      if (part.quantized != nullptr) continue;
      part.exp_avg.zero_();
      part.exp_avg_sq.zero_();
    }
  }
}

std::vector<StateTensor> AdamW8bitOptimizer::state() const {
  using Extent = StateTensor::Extent;
  std::vector<StateTensor> tensors;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Group& group = parts_[i];
    tensors.push_back({.name = "state1", .tensor = group.m_codes, .group = i, .ranges = group.large_ranges});
    tensors.push_back({.name = "state2", .tensor = group.v_codes, .group = i, .ranges = group.large_ranges});
    for (const Part& part : group.parts) {
      if (part.quantized != nullptr) continue;
      StateTensor state{.name = "exp_avg", .tensor = part.exp_avg, .extent = Extent::kParameter, .group = i};
      state.parameter = part.range.name;
      state.global_shape = part.range.global_shape;
      state.offset = part.range.offset;
      state.primary = part.range.primary;
      tensors.push_back(state);
      state.name = "exp_avg_sq";
      state.tensor = part.exp_avg_sq;
      tensors.push_back(state);
    }
  }
  for (const Quantized& of : quantized_) {
    tensors.push_back({.name = "absmax1", .tensor = of.m_scales, .extent = Extent::kParameter, .parameter = of.name});
    tensors.push_back({.name = "absmax2", .tensor = of.v_scales, .extent = Extent::kParameter, .parameter = of.name});
  }
  return tensors;
}

void AdamW8bitOptimizer::update(double lr, const torch::Tensor& coefficient_1) {
  if (ranks_.is_alone()) {
    for (size_t i = 0; i < groups().size(); ++i) update_group(i, lr, coefficient_1);
    return;
  }
  // A block may be spread over several ranks: they agree on its scales before coding.
  new_scales_.zero_();
  run_all_large(Pass::kGatherScales, lr, coefficient_1);
  ranks_.take_largest(new_scales_);
  run_all_large(Pass::kWithScales, lr, coefficient_1);
  scales_.copy_(new_scales_);
  for (size_t i = 0; i < groups().size(); ++i) step_others(i, lr, coefficient_1);
}

void AdamW8bitOptimizer::update_group(size_t group, double lr, const torch::Tensor& coefficient_1) {
  run_group(Pass::kWhole, group, lr, coefficient_1);
  step_others(group, lr, coefficient_1);
}

void AdamW8bitOptimizer::step_others(size_t group, double lr, const torch::Tensor& coefficient_1) const {
  for (const Part& part : parts_[group].parts) {
    if (part.quantized == nullptr) step_small(groups()[group], part, lr * groups()[group].lr_factor, coefficient_1);
  }
  groups()[group].grad.zero_();  // including padding
}

void AdamW8bitOptimizer::run_all_large(Pass pass, double lr, const torch::Tensor& coefficient_1) const {
  for (size_t i = 0; i < groups().size(); ++i) run_group(pass, i, lr, coefficient_1);
}

void AdamW8bitOptimizer::run_group(Pass pass, size_t group, double lr, const torch::Tensor& coefficient_1) const {
  for (const Part& part : parts_[group].parts) {
    if (part.quantized != nullptr) run_large(pass, group, part, lr * groups()[group].lr_factor, coefficient_1);
  }
}

void AdamW8bitOptimizer::run_large(Pass pass, size_t index, const Part& part, double lr,
                                   const torch::Tensor& coefficient_1) const {
  const FlatGroup& group = groups()[index];
  const ParameterRange& range = part.range;
  const AdamW8bitOptions options = {.lr = lr,
                                    .beta1 = options_.beta1,
                                    .beta2 = options_.beta2,
                                    .eps = options_.eps,
                                    .weight_decay = options_.weight_decay,
                                    .step = step_count(),
                                    .stochastic_rounding = options_.stochastic_rounding,
                                    .seed = options_.seed};
  const auto run = [&](const Run& of, const Quantized& scales) {
    run_run(pass, group, parts_[index], of, scales, options, coefficient_1);
  };
  const Quantized& whole = *part.quantized;
  if (!range.is_box()) {
    run({range.begin, range.size, range.offset}, whole);
  } else if (is_of_whole_blocks(range) && group.master.scalar_type() == torch::kFloat32) {
    MILLRACE_CHECK(pass != Pass::kWhole);  // there are other ranks
    const auto box = [&](const torch::Tensor& scales) { return box_of_scales(range, scales).contiguous().view({-1}); };
    const Quantized own = {whole.name, box(whole.m_scales), box(whole.v_scales), box(whole.new_m_scales),
                           box(whole.new_v_scales)};
    run({range.begin, range.size, 0}, own);
    if (pass != Pass::kGatherScales) return;
    const auto put = [&](const torch::Tensor& scales, const torch::Tensor& raised) {
      const torch::Tensor place = box_of_scales(range, scales);
      place.copy_(raised.view(place.sizes()));
    };
    put(whole.new_m_scales, own.new_m_scales);
    put(whole.new_v_scales, own.new_v_scales);
  } else {
    for (const ParameterRange& row : rows_of(range)) run({row.begin, row.size, row.offset}, whole);
  }
}

void AdamW8bitOptimizer::run_run(Pass pass, const FlatGroup& group, const Group& state, const Run& run,
                                 const Quantized& of, const AdamW8bitOptions& options,
                                 const torch::Tensor& coefficient_1) const {
  const int64_t first_block = run.first_element / kQuantizedBlock;
  const int64_t blocks = quantized_blocks(run.first_element, run.size);
  const auto scales = [&](const torch::Tensor& all) { return all.narrow(0, first_block, blocks); };
  const auto elements = [&](const torch::Tensor& flat) { return flat.narrow(0, run.begin, run.size); };
  AdamW8bitBuffers buffers;
  buffers.param = elements(group.master);
  buffers.grad = elements(group.grad);
  if (group.model_copy.defined()) buffers.model_copy = elements(group.model_copy);
  buffers.m_codes = elements(state.m_codes);
  buffers.v_codes = elements(state.v_codes);
  buffers.m_scales = scales(of.m_scales);
  buffers.v_scales = scales(of.v_scales);
  buffers.tables = &tables_;
  buffers.first_element = run.first_element;
  buffers.stream = rounding_stream(of.name);
  switch (pass) {
    case Pass::kWhole:
      return adamw8bit_step(buffers, options, coefficient_1);
    case Pass::kGatherScales:
      return adamw8bit_gather_scales(buffers, options, coefficient_1, scales(of.new_m_scales), scales(of.new_v_scales));
    case Pass::kWithScales:
      return adamw8bit_step_with_scales(buffers, options, coefficient_1, scales(of.new_m_scales),
                                        scales(of.new_v_scales));
  }
}

void AdamW8bitOptimizer::step_small(const FlatGroup& group, const Part& part, double lr,
                                    const torch::Tensor& coefficient_1) const {
  AdamWBuffers buffers;
  buffers.param = part.range.view(group.master);
  buffers.grad = part.range.view(group.grad);
  if (group.model_copy.defined()) buffers.model_copy = part.range.view(group.model_copy);
  buffers.exp_avg = part.exp_avg;
  buffers.exp_avg_sq = part.exp_avg_sq;
  buffers.stream = rounding_stream(part.range.name);
  buffers.first_element = static_cast<uint64_t>(part.range.offset);
  AdamWOptions options;
  options.lr = lr;
  options.beta1 = options_.beta1;
  options.beta2 = options_.beta2;
  options.eps = options_.eps;
  options.weight_decay = options_.weight_decay;
  options.step = step_count();
  options.stochastic_rounding = options_.stochastic_rounding;
  options.seed = options_.seed;
  adamw_step(buffers, options, coefficient_1);
}

}  // namespace millrace
