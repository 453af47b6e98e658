// The optimizer's view of parameters: a few large flat buffers instead of hundreds of tensors.
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

// Elements of a flat buffer that form a parameter or a part of one: either a run of the flattened parameter (shape is
// empty) or a box of a matrix.
struct ParameterRange {
  std::string name;
  int64_t begin = 0;                            // the first element in the buffer
  int64_t size = 0;                             // elements
  int64_t offset = 0;                           // run: its first element within the whole parameter
  std::vector<int64_t> global_shape = {};       // of the whole parameter
  std::vector<int64_t> start = {}, shape = {};  // box: its corner and size in the whole parameter
  int64_t row_stride = 0;                       // box: elements from one of its rows to the next in the buffer
  bool primary = true;  // false if another rank holds the same elements and contributes them to sums and saves

  bool is_box() const { return !shape.empty(); }
  // The range within a buffer of its group: [size], or the box's shape with rows row_stride apart.
  torch::Tensor view(const torch::Tensor& flat) const;
};

// A parameter of which any rank's group holds a part.
struct WholeParameter {
  std::string name;
  std::vector<int64_t> shape;
};

// Elements of a buffer whose stochastic rounding draws from a separate stream: the same numbers in every layout.
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
  torch::Tensor grad;        // float32 or bfloat16; undefined: for steps in parts (Optimizer::step_group())
  torch::Tensor model_copy;  // bfloat16 weights that the model computes with, or undefined: it computes with master
  std::vector<ParameterRange> parameters = {};        // this rank's, ascending; may be empty for rules that need none
  std::vector<WholeParameter> whole_parameters = {};  // all ranks', in the same order on every rank
  // Empty: one stream for the whole buffer. Otherwise elements outside of all ranges are padding.
  std::vector<RoundingRange> rounding = {};
  double lr_factor = 1;  // of this group's learning rate
};

// Throws LogicError unless the groups satisfy the conditions above.
void check_groups(const std::vector<FlatGroup>& groups);

// The group's parameters on this rank or, if it names none on any rank, the whole group as one.
std::vector<ParameterRange> parameters_or_whole(const FlatGroup& group);

// Every rank's parameters; this rank's for a group that names none.
std::vector<WholeParameter> whole_parameters_of(const FlatGroup& group);

// The stream for this name.
uint64_t rounding_stream(std::string_view name);

// Splits a group, for a rule without its own stochastic rounding, into pieces that draw from one stream each: the whole
// buffer unless the group says otherwise.
std::vector<RoundingRange> rounding_ranges(const FlatGroup& group, bool stochastic);

// "double_blocks.0.img_attn.qkv.weight[17]": the parameter that element `index` of the group belongs to and the index
// within it; the group's own name where no range holds the element.
std::string describe_element(const FlatGroup& group, int64_t index);

}  // namespace millrace
