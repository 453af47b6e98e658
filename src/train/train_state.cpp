#include "train/train_state.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace millrace {

namespace {

constexpr const char* kStatePrefix = "optimizer.state.";

// This rank's part of one parameter, in a tensor with the layout of the group's master.
NamedPiece piece_of(const ParameterRange& range, const std::string& name, const torch::Tensor& flat, bool writes) {
  return {name, range.global_shape, range.offset, range.start, range.shape, range.view(flat), range.primary && writes};
}

void add_elements(const StateTensor& state, const FlatGroup& group, bool writes, std::vector<NamedPiece>& pieces) {
  const auto add = [&](const ParameterRange& range) {
    pieces.push_back(piece_of(range, kStatePrefix + range.name + "." + state.name, state.tensor, writes));
  };
  if (!state.ranges) {
    for (const ParameterRange& range : group.parameters) add(range);
  } else {
    for (const size_t range : *state.ranges) add(group.parameters[range]);
  }
}

// A tensor that every rank holds completely, or as a run.
NamedPiece own_piece(const StateTensor& state, const std::string& name, bool writes, bool is_first) {
  if (state.global_shape.empty()) {
    return {name, state.tensor.sizes().vec(), 0, {}, {}, state.tensor, is_first};
  }
  return {name, state.global_shape, state.offset, {}, {}, state.tensor, state.primary && writes};
}

}  // namespace

std::vector<NamedPiece> weight_pieces(const FlatParameters& parameters, const std::string& prefix,
                                      const torch::Tensor& flat) {
  std::vector<NamedPiece> pieces;
  for (const ParameterPiece& piece : parameters.pieces()) {
    pieces.push_back({prefix + piece.name, piece.global_shape, piece.offset, piece.start, piece.shape, piece.view(flat),
                      piece.primary && parameters.writes_checkpoint()});
  }
  return pieces;
}

std::vector<NamedPiece> checkpoint_pieces(const FlatParameters& parameters, const Optimizer& optimizer,
                                          const MovingAverage* average) {
  const bool writes = parameters.writes_checkpoint(), is_first = parameters.is_first_rank();
  std::vector<NamedPiece> pieces = weight_pieces(parameters, "model.", parameters.master());
  for (const StateTensor& state : optimizer.state()) {
    switch (state.extent) {
      case StateTensor::Extent::kElements:
        add_elements(state, optimizer.groups()[state.group], writes, pieces);
        break;
      case StateTensor::Extent::kParameter:
        pieces.push_back(own_piece(state, kStatePrefix + state.parameter + "." + state.name, writes, is_first));
        break;
      case StateTensor::Extent::kOptimizer:
        pieces.push_back(own_piece(state, "optimizer." + state.name, writes, is_first));
        break;
    }
  }
  const std::vector<torch::Tensor> averages = average != nullptr ? average->buffers() : optimizer.averaged_weights();
  for (size_t i = 0; i < averages.size(); ++i) {
    for (const ParameterRange& range : optimizer.groups()[i].parameters) {
      pieces.push_back(piece_of(range, "ema." + range.name, averages[i], writes));
    }
  }
  return pieces;
}

bool has_reached_target(const Progress& progress, const ValidationConfig& validation) {
  return validation.enable && validation.target_loss > 0 && progress.validation_loss &&
         *progress.validation_loss <= validation.target_loss;
}

bool has_run_out_of_patience(const Progress& progress, const ValidationConfig& validation) {
  return validation.enable && validation.patience > 0 && progress.worse_validations >= validation.patience;
}

bool has_ended(const Progress& progress, const RunConfig& config) {
  return progress.step >= config.training.steps || has_reached_target(progress, config.validation) ||
         has_run_out_of_patience(progress, config.validation);
}

bool is_kept_best(const Progress& progress, const RunConfig& config) {
  return config.checkpoint.keep_best && progress.best_loss && progress.best_step == progress.step;
}

bool Progress::note_validation(double loss) {
  validation_loss = loss;
  if (std::isfinite(loss) && (!best_loss || loss < *best_loss)) {
    best_loss = loss;
    best_step = step;
    worse_validations = 0;
    return true;
  }
  ++worse_validations;
  return false;
}

std::string to_state_json(const Progress& progress, uint64_t seed, const Settings& settings) {
  nlohmann::json state{{"step", progress.step},
                       {"samples", progress.samples},
                       {"seed", seed},
                       {"settings", settings},
                       {"data_position", nlohmann::json::parse(progress.data_position)}};
  if (progress.validation_loss) state["validation_loss"] = *progress.validation_loss;
  if (progress.best_loss || progress.worse_validations > 0) {
    state["best_validation"] = {{"step", progress.best_step}, {"worse_since", progress.worse_validations}};
    if (progress.best_loss) state["best_validation"]["loss"] = *progress.best_loss;
  }
  if (progress.empty_steps > 0) state["empty_steps"] = progress.empty_steps;
  if (!progress.task_state.empty()) state["task"] = nlohmann::json::parse(progress.task_state);
  for (const auto& [name, own] : progress.listeners) state["listeners"][name] = nlohmann::json::parse(own);
  return state.dump();
}

Progress parse_state_json(const std::string& json) {
  try {
    const nlohmann::json state = nlohmann::json::parse(json);
    Progress progress{.step = state.at("step").get<int64_t>(),
                      .samples = state.at("samples").get<int64_t>(),
                      .empty_steps = state.value("empty_steps", int64_t{0}),
                      .data_position = state.at("data_position").dump(),
                      .validation_loss = {},
                      .best_loss = {},
                      .task_state = state.contains("task") ? state.at("task").dump() : "",
                      .listeners = {}};
    const auto validated = state.find("validation_loss");
    if (validated != state.end() && validated->is_number()) progress.validation_loss = validated->get<double>();
    if (state.contains("best_validation")) {
      const nlohmann::json& best = state.at("best_validation");
      progress.best_step = best.at("step").get<int64_t>();
      progress.worse_validations = best.at("worse_since").get<int64_t>();
      if (best.contains("loss")) progress.best_loss = best.at("loss").get<double>();
    }
    if (state.contains("listeners")) {
      for (const auto& [name, own] : state.at("listeners").items()) progress.listeners[name] = own.dump();
    }
    return progress;
  } catch (const nlohmann::json::exception& error) {
    throw StorageError(std::string("[checkpoint state] expected step, samples and data_position, got: ") +
                       error.what());
  }
}

std::optional<int64_t> seed_in_state(const std::string& json) {
  const nlohmann::json state = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  const bool has_one = state.is_object() && state.contains("seed") && state["seed"].is_number_integer();
  return has_one ? std::optional(state["seed"].get<int64_t>()) : std::nullopt;
}

Settings settings_in_state(const std::string& json) {
  const nlohmann::json state = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object() || !state.contains("settings") || !state["settings"].is_object()) return {};
  Settings settings;
  for (const auto& [name, value] : state["settings"].items()) {
    if (value.is_string()) settings[name] = value.get<std::string>();
  }
  return settings;
}

}  // namespace millrace
