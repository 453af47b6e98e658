// The totals of one step over all ranks, exchanged in one small all-reduce.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "parallel/flat_parameters.h"
#include "train/task.h"

namespace millrace {

// One rank's share.
struct StepShare {
  torch::Tensor loss_1;     // fp64, one element: summed losses, times the task's scale
  double weight = 0;        // summed
  torch::Tensor squares_1;  // fp64, one element: squared gradients of this rank's part
  int64_t samples = 0;
  int64_t tokens = 0;
  double data_seconds = 0;
  uint64_t sample_digest = 0;
  int stop_signal = 0;        // the signal that asked this rank to stop, or 0
  bool save_is_over = false;  // a checkpoint was being written, and is complete now
  std::string bad_gradient;   // what is wrong with the first one that is not finite, where it is known already

  void add(const MicrobatchResult& result);
};

// The same numbers, bit for bit, on every rank.
struct StepTotals {
  torch::Tensor squares_1;  // fp64, one element, on the groups' device
  double squares = 0;
  double loss_sum = 0;
  double weight = 0;
  int64_t samples = 0;
  int64_t tokens = 0;
  double data_seconds = 0;  // mean over ranks
  uint64_t sample_digest = 0;
  int64_t bad_losses = 0;     // ranks whose loss is not finite
  int64_t bad_gradients = 0;  // ranks whose squares are not finite
  int stop_signal = 0;        // the signal that asked any rank to stop, or 0
  int64_t saves_over = 0;     // ranks whose checkpoint is complete
};

// The step's only wait for the device. Values that several ranks share (tp ranks: samples; replicas: gradients) count
// once.
StepTotals exchange(const StepShare& share, Mesh& mesh);
// The signal, on all ranks, if any rank was asked to stop, else 0; for moments outside a step.
int agree_on_stop(int stop_signal, Mesh& mesh, torch::Device device);

// Elements of a rank's flat buffers.
struct ElementRange {
  int64_t begin = 0;
  int64_t size = 0;
};
// The elements counted on this rank: a parameter that several ranks of the tp axis hold is counted on one of them. The
// same in every step.
std::vector<ElementRange> own_ranges(const FlatParameters& parameters);
// The sum of their squared gradients: fp64, one element, on the gradients' device.
torch::Tensor own_squares(const torch::Tensor& grad, const std::vector<ElementRange>& ranges);

}  // namespace millrace
