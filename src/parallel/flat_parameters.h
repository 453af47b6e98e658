// All parameters of a model in a few flat buffers.
//
// A unit is what is gathered, released, recomputed and stepped as a whole: a transformer block. Its parameters lie one
// after the other; modules hold views. So the optimizer, clipping, collectives and checkpoints work on large pieces, on
// one device as on a thousand.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

struct UnitSpec {
  std::string name;
  std::vector<std::pair<std::string, torch::Tensor>> parameters;  // qualified name and the module's tensor, in order
  // Back to back, so that equal-width matrices form one; otherwise each parameter starts on its own cache line.
  bool packed = false;
};

// Where a parameter lies, in elements from the start of the flat buffers.
struct ParameterSlice {
  std::string name;
  std::vector<int64_t> shape;
  int64_t begin = 0;
  int64_t size = 0;
};

struct ParameterUnit {
  std::string name;
  int64_t begin = 0;
  int64_t size = 0;  // with padding
};

struct FlatParametersOptions {
  torch::Dtype compute_dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;
  bool training = false;         // with gradients, and with fp32 masters when compute_dtype is narrower
  bool without_masters = false;  // training updates the narrow weights themselves, with stochastic rounding
};

class FlatParameters {
 public:
  // Places every parameter of the units: their tensors become views of compute(), their .grad() views of grad(). On the
  // meta device nothing is placed: the tensors keep shapes alone.
  FlatParameters(std::vector<UnitSpec> units, const FlatParametersOptions& options);

  // Makes zero gradients for parameters that were placed without.
  void allocate_gradients();

  const std::vector<ParameterUnit>& units() const { return units_; }
  const std::vector<ParameterSlice>& slices() const { return slices_; }
  int64_t num_parameters() const { return num_parameters_; }  // without padding

  const torch::Tensor& compute() const { return compute_; }  // compute_dtype, 1-D; what the modules see
  // fp32, 1-D; compute() itself in fp32 training and without masters.
  const torch::Tensor& master() const { return master_; }
  const torch::Tensor& grad() const { return grad_; }  // compute_dtype, 1-D; zero between steps

  // The part of a flat buffer that belongs to a parameter, in its shape.
  static torch::Tensor view(const torch::Tensor& flat, const ParameterSlice& slice);
  std::map<std::string, torch::Tensor> named_views(const torch::Tensor& flat) const;

  // Copies tensors (any dtype, device) into the masters, or into compute() when there are none, and brings compute() up
  // to date. Names and shapes must match exactly (programmer's duty; models/weights.h checks files).
  void assign(const std::map<std::string, torch::Tensor>& tensors);
  // compute() = master(), rounded.
  void refresh_compute();

 private:
  std::vector<ParameterUnit> units_;
  std::vector<ParameterSlice> slices_;
  std::vector<torch::Tensor> parameters_;  // the modules' tensors, one per slice
  int64_t num_parameters_ = 0;
  torch::Tensor compute_, master_, grad_;
};

}  // namespace millrace
