#include "optim/prodigy_slices.h"

#include "base/error.h"
#include "base/log.h"

namespace millrace {

ProdigySlices::ProdigySlices(const std::vector<FlatGroup>& groups, int64_t slice_p, torch::Dtype dtype)
    : groups_(groups), slice_p_(slice_p) {
  for (const FlatGroup& group : groups_) {
    std::vector<Slice>& slices = slices_.emplace_back();
    for (const ParameterRange& range : parameters_or_whole(group)) {
      if (range.is_box()) {
        throw ConfigError(
            str("[optimizer] expected a rule that estimates its step size from all elements, with tensor "
                "parallelism, got one of every ",
                slice_p, ", which lie at no fixed distance in the columns that a rank has of ", range.name,
                " (try another optimizer.name, or slice_p = 1)"));
      }
      // The elements of the whole parameter whose index slice_p divides.
      const int64_t first = (slice_p - range.offset % slice_p) % slice_p;
      if (first >= range.size) continue;
      Slice slice{range, first, {}, {}};
      slice.p0 = sliced(group.master, slice).to(dtype).clone();
      slice.s = torch::zeros_like(slice.p0);
      slices.push_back(std::move(slice));
    }
  }
}

torch::Tensor ProdigySlices::sliced(const torch::Tensor& flat, const Slice& slice) const {
  const int64_t begin = slice.range.begin;
  return flat.slice(0, begin + slice.first, begin + slice.range.size, slice_p_);
}

void ProdigySlices::restart() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (const Slice& slice : slices_[i]) {
      slice.s.zero_();
      slice.p0.copy_(sliced(groups_[i].master, slice));
    }
  }
}

std::vector<StateTensor> ProdigySlices::state() const {
  std::vector<StateTensor> tensors;
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (const Slice& slice : slices_[i]) {
      StateTensor state;
      state.extent = StateTensor::Extent::kParameter;
      state.group = i;
      state.parameter = slice.range.name;
      const int64_t size = c10::multiply_integers(slice.range.global_shape);
      state.global_shape = {(size + slice_p_ - 1) / slice_p_};
      state.offset = (slice.range.offset + slice.first) / slice_p_;
      state.primary = slice.range.primary;
      state.name = "s";
      state.tensor = slice.s;
      tensors.push_back(state);
      state.name = "p0";
      state.tensor = slice.p0;
      tensors.push_back(state);
    }
  }
  return tensors;
}

void ProdigySlices::gather(size_t group, double beta3, double grad_share, double weight_decay,
                           const torch::Tensor& coefficient_1, const torch::Tensor& sums_3) const {
  for (const Slice& slice : slices_[group]) {
    const torch::Tensor p = sliced(groups_[group].master, slice).to(torch::kFloat32);
    torch::Tensor g = sliced(groups_[group].grad, slice).to(torch::kFloat32);
    if (coefficient_1.defined()) g = g * coefficient_1;
    if (weight_decay != 0) g = g + weight_decay * p;
    slice.s.mul_(beta3).add_(g, grad_share);
    if (!slice.range.primary) continue;  // another rank counts them
    sums_3[0].add_((g * (slice.p0 - p)).sum(torch::kFloat64));
    // abs(), which has no version for the meta device
    sums_3[1].add_(at::maximum(slice.s, slice.s.neg()).sum(torch::kFloat64));
  }
}

}  // namespace millrace
