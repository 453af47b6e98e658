#include "adapters/input_dropout.h"

#include <utility>

#include "base/error.h"
#include "kernels/philox_fill/philox_fill.h"

namespace millrace {

InputDropout::InputDropout(std::shared_ptr<LinearAdapter> adapter, double probability, const RandomStream& stream)
    : adapter_(std::move(adapter)), probability_(probability), stream_(stream) {
  MILLRACE_CHECK(probability >= 0 && probability < 1);
}

torch::Tensor InputDropout::drop(const torch::Tensor& x_MK) const {
  const torch::Tensor factors_MK = torch::empty(x_MK.sizes(), x_MK.options().dtype(torch::kFloat32));
  if (x_MK.is_meta()) return torch::empty_like(x_MK);  // a planned model
  philox_fill_uniform(factors_MK.view({1, -1}), {stream_});
  return factors_MK.ge_(probability_).mul_(1 / (1 - probability_)).mul_(x_MK).to(x_MK.scalar_type());
}

void InputDropout::complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const {
  adapter_->complete_forward(out_MN, drop(x_MK), pass);
}

void InputDropout::add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const {
  torch::Tensor ddropped_MK = torch::zeros_like(dx_MK);
  adapter_->add_input_gradient(ddropped_MK, dy_MN, pass);
  dx_MK.add_(drop(ddropped_MK));
}

void InputDropout::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) {
  adapter_->add_gradients(dy_MN, drop(x_MK), pass);
}

}  // namespace millrace
