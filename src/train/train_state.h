// Everything that a checkpoint contains: weights, moments, averages, and the progress of the run.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/loaded_checkpoint.h"
#include "checkpoint/named_piece.h"
#include "config/run_config.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "parallel/flat_parameters.h"
#include "train/changed_settings.h"

namespace millrace {

struct Progress {
  int64_t step = 0;         // steps done
  int64_t samples = 0;      // samples trained on
  int64_t empty_steps = 0;  // steps done without anything to learn from: they updated nothing
  std::string data_position;
  std::optional<double> validation_loss;         // of the weights after this step, if validated
  std::optional<double> best_loss;               // of all validations so far
  int64_t best_step = 0;                         // where that was
  int64_t worse_validations = 0;                 // since then
  std::string task_state;                        // as JSON; "": none
  std::map<std::string, std::string> listeners;  // the state of each run listener that has one, as JSON, by name

  int64_t updates() const { return step - empty_steps; }
  // Takes note of the validation after this step. Returns whether it was better than all before; a loss that is not a
  // number never is.
  bool note_validation(double loss);
};

// This rank's part of each parameter, as views of flat, which has the parameters' layout; named prefix +
// parameter.
std::vector<NamedPiece> weight_pieces(const FlatParameters& parameters, const std::string& prefix,
                                      const torch::Tensor& flat);
// "model.<parameter>", "optimizer.state.<parameter>.<name>" for the optimizer's state per parameter (".exp_avg"),
// "optimizer.<name>" for its global state, and with an average of the weights, the optimizer's or the moving one
// (may be null), "ema.<parameter>": views of this rank's tensors, so that saving copies nothing twice and any program
// finds a tensor by name.
std::vector<NamedPiece> checkpoint_pieces(const FlatParameters& parameters, const Optimizer& optimizer,
                                          const MovingAverage* average);

// Whether the current weights have reached the validation loss at which the run ends.
bool has_reached_target(const Progress& progress, const ValidationConfig& validation);

// Whether so many validations in a row were no better than the best that the run is to end.
bool has_run_out_of_patience(const Progress& progress, const ValidationConfig& validation);

// For one of these reasons, or because no step is left.
bool has_ended(const Progress& progress, const RunConfig& config);

// Whether the current weights are those of the best validation, which the run keeps.
bool is_kept_best(const Progress& progress, const RunConfig& config);

// Converts to and from the JSON of the checkpoint's state. Throws StorageError when a field is missing.
std::string to_state_json(const Progress& progress, uint64_t seed, const Settings& settings);
Progress parse_state_json(const std::string& json);
// The seed of the run that saved it.
std::optional<int64_t> seed_in_state(const std::string& json);
// Empty for checkpoints of versions that kept none.
Settings settings_in_state(const std::string& json);

}  // namespace millrace
