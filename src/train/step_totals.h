// What one step amounts to on all ranks: exchanged in one small all-reduce.
#pragma once

#include <torch/types.h>

#include <cstdint>
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
  int stop_signal = 0;        // that asked this rank to stop, or 0
  bool save_is_over = false;  // a checkpoint was being written, and is now

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
  int stop_signal = 0;        // that asked some rank to stop, or 0
  int64_t saves_over = 0;     // ranks whose checkpoint is written
};

// The step's one wait for the device. What several ranks hold alike (tp ranks: samples; replicas: gradients) counts
// once.
StepTotals exchange(const StepShare& share, Mesh& mesh);
// True on all ranks when one was asked to stop; for moments outside a step. Returns the signal or 0.
int agree_on_stop(int stop_signal, Mesh& mesh, torch::Device device);

// Elements of a rank's flat buffers.
struct ElementRange {
  int64_t begin = 0;
  int64_t size = 0;
};
// The elements that count on this rank: parameters that the tp axis holds several times count on one of its ranks. The
// same in every step.
std::vector<ElementRange> own_ranges(const FlatParameters& parameters);
// The squared gradients there: fp64, one element, on the gradients' device.
torch::Tensor own_squares(const torch::Tensor& grad, const std::vector<ElementRange>& ranges);

}  // namespace millrace
