#include "parallel/gradient_reducer.h"

#include "base/error.h"
#include "base/philox.h"
#include "kernels/flat_update/flat_update.h"

namespace millrace {
namespace {

constexpr uint64_t kSumsSeed = 0x67726164;  // other bits than those that round the weights

}  // namespace

GradientReducer::GradientReducer(const FlatLayout& layout, Group& shard, Group& replicate, const torch::Tensor& own,
                                 torch::Dtype compute_dtype, torch::Dtype reduce_dtype)
    : layout_(layout),
      shard_(shard),
      replicate_(replicate),
      own_(own),
      reduce_dtype_(reduce_dtype),
      pool_(own.options().dtype(compute_dtype)),
      part_pool_(own.options().dtype(reduce_dtype)),
      whole_(layout.units().size()),
      sums_(layout.units().size()) {
  for (const torch::Dtype dtype : {reduce_dtype, torch::Dtype(torch::kFloat32)}) {
    if (dtype != compute_dtype) wide_.emplace(dtype, BufferPool(own.options().dtype(dtype)));
  }
}

const torch::Tensor& GradientReducer::enter(size_t unit) {
  torch::Tensor& whole = whole_[unit];
  if (!whole.defined()) {
    whole = pool_.take(layout_.units()[unit].size);
    whole.zero_();
  }
  return whole;
}

void GradientReducer::leave(size_t unit, bool complete) {
  torch::Tensor& sum = sums_[unit];
  if (!complete && whole_[unit].scalar_type() == torch::kFloat32) return;  // enter() adds to it again
  torch::Tensor whole = std::move(whole_[unit]);
  if (!complete) {
    if (!sum.defined()) {
      sum = wide_.at(torch::kFloat32).take(whole.numel());
      sum.zero_();
    }
    sum.add_(whole);
    return give_back(std::move(whole));
  }
  advance();
  if (sum.defined()) {
    sum.add_(whole);
    give_back(std::move(whole));
    whole = std::move(sum);
  }
  Reduction reduction;
  reduction.unit = unit;
  reduction.whole = converted(std::move(whole));
  if (shard_.size() > 1) {
    reduction.part = part_pool_.take(layout_.own_size(unit));
    reduction.work = shard_.reduce_scatter(reduction.part, reduction.whole);
  } else {
    reduction.part = reduction.whole;
    reduction.work = replicate_.all_reduce(reduction.part);
    reduction.scattered = true;
  }
  running_.push_back(std::move(reduction));
}

torch::Tensor GradientReducer::converted(torch::Tensor whole) {
  if (whole.scalar_type() == reduce_dtype_) return whole;
  BufferPool& pool = reduce_dtype_ == pool_.dtype() ? pool_ : wide_.at(reduce_dtype_);
  torch::Tensor result = pool.take(whole.numel());
  result.copy_(whole);
  give_back(std::move(whole));
  return result;
}

void GradientReducer::give_back(torch::Tensor whole) {
  BufferPool& pool = whole.scalar_type() == pool_.dtype() ? pool_ : wide_.at(whole.scalar_type());
  pool.give_back(std::move(whole));
}

void GradientReducer::advance() {
  const size_t count = running_.size();
  for (size_t i = 0; i < count; ++i) {
    Reduction reduction = std::move(running_.front());
    running_.pop_front();
    reduction.work.wait();
    if (!reduction.scattered && replicate_.size() > 1) {
      give_back(std::move(reduction.whole));
      reduction.work = replicate_.all_reduce(reduction.part);
      reduction.scattered = true;
      running_.push_back(std::move(reduction));
      continue;
    }
    add_to_own(reduction.unit, reduction.part);
    if (shard_.size() > 1) part_pool_.give_back(std::move(reduction.part));
    if (reduction.whole.defined()) give_back(std::move(reduction.whole));
  }
}

// Plain SGD with a step of -1 is an addition; its kernel has the random rounding.
void GradientReducer::add_to_own(size_t unit, torch::Tensor& part) {
  const torch::Tensor own = layout_.own_part(own_, unit);
  if (number_ == 0 || own.scalar_type() == torch::kFloat32) {
    own.add_(part);
    return;
  }
  FlatUpdateBuffers buffers;
  buffers.param = own;
  buffers.grad = part;
  buffers.stream = mix64(unit) >> 2;
  buffers.first_element = static_cast<uint64_t>(shard_.rank() * own.numel());
  flat_update(FlatRule::kPlainSgd, {.step_size = -1}, buffers,
              {.step = number_, .stochastic_rounding = true, .seed = mix64(seed_ + kSumsSeed)});
}

void GradientReducer::round_at_random(uint64_t seed, int64_t number) {
  MILLRACE_CHECK(number > 0);
  seed_ = seed;
  number_ = number;
}

void GradientReducer::finish() {
  while (!running_.empty()) advance();
}

}  // namespace millrace
