// What the optimizer works on: a few large flat buffers instead of hundreds of tensors.
//
// The parameters of a block live in one buffer from the start and the modules hold views of it, so that the optimizer,
// clipping, averaging and checkpoints each handle a few large pieces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <torch/types.h>

namespace millrace {

// Which elements of a flat buffer are which parameter; for messages.
struct ParameterRange {
  std::string name;
  int64_t begin = 0;
  int64_t size = 0;
  int64_t offset = 0;  // of its first element within the whole parameter, of which the buffer may hold a part
};

// Elements of a buffer whose stochastic rounding draws from a stream of its own: the same numbers wherever they lie.
struct RoundingRange {
  uint64_t stream = 0;  // below 2^62
  int64_t begin = 0;
  int64_t size = 0;
  int64_t offset = 0;  // of the first element in the stream
};

// All tensors are 1-D, contiguous, of the same length and on the same device.
struct FlatGroup {
  std::string name;
  torch::Tensor master;      // float32, or bfloat16 without a master copy
  torch::Tensor grad;        // float32 or bfloat16
  torch::Tensor model_copy;  // bfloat16 weights that the model computes with, or undefined: it computes with master
  std::vector<ParameterRange> parameters = {};  // ascending; may be empty
  // Empty: one stream for the whole buffer. Otherwise what lies outside of all ranges is padding.
  std::vector<RoundingRange> rounding = {};
};

// Throws LogicError unless the groups keep the promises above.
void check_groups(const std::vector<FlatGroup>& groups);

// The stream of a thing with this name.
uint64_t rounding_stream(std::string_view name);

// "double_blocks.0.img_attn.qkv.weight[17]": the parameter that element `index` of the group belongs to and the index
// within it; the group's own name where no range holds the element.
std::string describe_element(const FlatGroup& group, int64_t index);

}  // namespace millrace
