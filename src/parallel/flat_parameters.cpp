#include "parallel/flat_parameters.h"

#include "base/error.h"

namespace millrace {
namespace {

constexpr int64_t kAlignment = 64;  // elements; a cache line or more in every dtype

int64_t align(int64_t position) {
  return (position + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

FlatParameters::FlatParameters(std::vector<UnitSpec> units, const FlatParametersOptions& options) {
  const torch::NoGradGuard no_grad;
  int64_t position = 0;
  for (const UnitSpec& unit : units) {
    const int64_t unit_begin = position;
    for (const auto& [name, tensor] : unit.parameters) {
      if (!unit.packed) position = align(position);
      slices_.push_back({name, tensor.sizes().vec(), position, tensor.numel()});
      parameters_.push_back(tensor);
      num_parameters_ += tensor.numel();
      position += tensor.numel();
    }
    position = align(position);
    units_.push_back({unit.name, unit_begin, position - unit_begin});
  }

  if (options.device.is_meta()) return;
  const auto flat_options = torch::TensorOptions().dtype(options.compute_dtype).device(options.device);
  compute_ = torch::zeros({position}, flat_options);
  for (size_t i = 0; i < slices_.size(); ++i) parameters_[i].set_data(view(compute_, slices_[i]));
  if (options.training) {
    const bool one_copy = options.compute_dtype == torch::kFloat32 || options.without_masters;
    master_ = one_copy ? compute_ : torch::zeros({position}, flat_options.dtype(torch::kFloat32));
    allocate_gradients();
  }
}

void FlatParameters::allocate_gradients() {
  if (grad_.defined()) return;
  grad_ = torch::zeros_like(compute_);
  for (size_t i = 0; i < slices_.size(); ++i) parameters_[i].mutable_grad() = view(grad_, slices_[i]);
}

torch::Tensor FlatParameters::view(const torch::Tensor& flat, const ParameterSlice& slice) {
  return flat.narrow(0, slice.begin, slice.size).view(slice.shape);
}

std::map<std::string, torch::Tensor> FlatParameters::named_views(const torch::Tensor& flat) const {
  std::map<std::string, torch::Tensor> views;
  for (const ParameterSlice& slice : slices_) views.emplace(slice.name, view(flat, slice));
  return views;
}

void FlatParameters::assign(const std::map<std::string, torch::Tensor>& tensors) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor& target = master_.defined() ? master_ : compute_;
  for (const ParameterSlice& slice : slices_) {
    const auto found = tensors.find(slice.name);
    MILLRACE_CHECK(found != tensors.end() && found->second.sizes() == c10::IntArrayRef(slice.shape));
    view(target, slice).copy_(found->second);
  }
  refresh_compute();
}

void FlatParameters::refresh_compute() {
  const torch::NoGradGuard no_grad;
  if (master_.defined() && !master_.is_same(compute_)) compute_.copy_(master_);
}

}  // namespace millrace
