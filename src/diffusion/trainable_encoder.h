// A text encoder whose linear layers may have adapters that are trained with FLUX's.
#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/flat_model.h"

namespace millrace {

// The adapters on an encoder's layers.
struct EncoderAdapters {
  std::function<UnitUse()> use;              // gives them memory while its result lives; collective if sharded
  std::function<void(double)> set_strength;  // 1: as they are; with 0 they add nothing and need no memory
};

class TrainableEncoder {
 public:
  virtual ~TrainableEncoder() = default;

  virtual FlatModel& model() = 0;  // frozen
  // The encodings of a training pass, [B, ...], and what its backward pass needs. The adapters must have memory.
  virtual torch::Tensor forward(const std::vector<std::string>& captions) = 0;
  // Adds to the adapters' gradients. Once after each forward().
  virtual void backward(const torch::Tensor& dencoding) = 0;
  // From now on the layers have adapters; encodings, too, are made with them.
  virtual void set_trained(EncoderAdapters adapters) = 0;
};

// One of FLUX's two, trained.
struct TrainedEncoder {
  std::string prefix;  // of its layers' names among all adapters': "clip_l."
  TrainableEncoder* encoder = nullptr;
  bool is_pooled = false;  // it makes y, not txt
  double lr_factor = 1;    // on the optimizer's rate
  std::optional<double> loraplus_ratio = {};
};

}  // namespace millrace
