// Everything of a run that a checkpoint holds: weights, moments, averages, and where the run stands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/loaded_checkpoint.h"
#include "checkpoint/named_piece.h"
#include "optim/adam_optimizer.h"
#include "parallel/flat_parameters.h"

namespace millrace {

struct Progress {
  int64_t step = 0;     // steps done
  int64_t samples = 0;  // samples trained on
  std::string data_position;
  std::optional<double> validation_loss;  // of the weights after this step, where they were validated
};

// What this rank holds of each parameter, as views of flat, which lies as the parameters do; named prefix + parameter.
std::vector<NamedPiece> weight_pieces(const FlatParameters& parameters, const std::string& prefix,
                                      const torch::Tensor& flat);
// "model.<parameter>", "optimizer.state.<parameter>.exp_avg" and ".exp_avg_sq", and with an average of the weights
// "ema.<parameter>": views of what this rank holds, so that saving copies nothing twice and any program finds a tensor
// by name.
std::vector<NamedPiece> checkpoint_pieces(const FlatParameters& parameters, const AdamOptimizer& optimizer);

// JSON for the checkpoint's state, and back. Throws StorageError when a field is missing.
std::string to_state_json(const Progress& progress, uint64_t seed);
Progress parse_state_json(const std::string& json, uint64_t expected_seed);

}  // namespace millrace
