// What a file of adapters says, whatever convention it follows: a list of adapters, each of one linear layer.
//
// A reader per convention (peft_file.h; kohya's is another) makes the list; attach_adapters.h puts it on a model.
// Letters: N outputs and K inputs of the layer; R the rank.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "adapters/adapter_kind.h"

namespace millrace {

// A tensor as it is in the file.
struct FileTensor {
  std::string name;  // in the file: gradients are written under it
  torch::Tensor values;
  // The two halves of dimension 0 are in the other order than the model's: diffusers' final modulation.
  bool swaps_halves = false;
};

struct AdapterTensors {
  // The linear layer: in the convention's words as a reader gives it, in the model's own naming (that of
  // torch::nn::Module::named_modules()) as attach_adapters() takes it.
  std::string module;
  AdapterKind kind = AdapterKind::kLora;
  // The layer's outputs that it adapts: conventions know q, k and v apart where a model has them in one layer. -1: to
  // the last.
  int64_t row_begin = 0, row_end = -1;
  double scale = 1;                           // of the product: alpha / rank, or alpha / sqrt(rank) for rslora
  std::map<std::string, FileTensor> tensors;  // by role, as at AdapterKind
};

}  // namespace millrace
