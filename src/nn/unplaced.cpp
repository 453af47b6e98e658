#include "nn/unplaced.h"

namespace millrace {
namespace {

thread_local bool parameters_on_meta = false;

}  // namespace

MetaParameters::MetaParameters() : previous_(parameters_on_meta) {
  parameters_on_meta = true;
}

MetaParameters::~MetaParameters() {
  parameters_on_meta = previous_;
}

torch::Tensor unplaced_parameter(c10::IntArrayRef shape) {
  return torch::zeros({1}, parameters_on_meta ? torch::kMeta : torch::kCPU).expand(shape);
}

}  // namespace millrace
