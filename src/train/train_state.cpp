#include "train/train_state.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"

namespace millrace {

namespace {

void add_pieces(std::vector<NamedPiece>& pieces, const FlatParameters& parameters,
                const std::vector<ParameterPiece>& held, const std::string& prefix, const std::string& suffix,
                const torch::Tensor& flat) {
  for (const ParameterPiece& piece : held) {
    pieces.push_back({prefix + piece.name + suffix, piece.global_shape, piece.offset, piece.start, piece.shape,
                      piece.view(flat), piece.primary && parameters.writes_checkpoint()});
  }
}

}  // namespace

std::vector<NamedPiece> weight_pieces(const FlatParameters& parameters, const std::string& prefix,
                                      const torch::Tensor& flat) {
  std::vector<NamedPiece> pieces;
  add_pieces(pieces, parameters, parameters.pieces(), prefix, "", flat);
  return pieces;
}

std::vector<NamedPiece> checkpoint_pieces(const FlatParameters& parameters, const AdamOptimizer& optimizer) {
  const std::vector<ParameterPiece> held = parameters.pieces();
  std::vector<NamedPiece> pieces;
  const auto add = [&](const std::string& prefix, const std::string& suffix, const torch::Tensor& flat) {
    add_pieces(pieces, parameters, held, prefix, suffix, flat);
  };
  add("model.", "", parameters.master());
  for (const auto& [name, flat] : optimizer.state()) {
    const std::string kind = name.substr(name.rfind('.') + 1);
    if (kind == "ema") {
      add("ema.", "", flat);
    } else {
      add("optimizer.state.", "." + kind, flat);
    }
  }
  return pieces;
}

std::string to_state_json(const Progress& progress, uint64_t seed) {
  nlohmann::json state{{"step", progress.step},
                       {"samples", progress.samples},
                       {"seed", seed},
                       {"data_position", nlohmann::json::parse(progress.data_position)}};
  if (progress.validation_loss) state["validation_loss"] = *progress.validation_loss;
  return state.dump();
}

Progress parse_state_json(const std::string& json, uint64_t expected_seed) {
  try {
    const nlohmann::json state = nlohmann::json::parse(json);
    const auto seed = state.at("seed").get<uint64_t>();
    if (seed != expected_seed) {
      log_warning("training.seed is ", expected_seed, ", the checkpoint's is ", seed, ": going on with ",
                  expected_seed);
    }
    Progress progress{.step = state.at("step").get<int64_t>(),
                      .samples = state.at("samples").get<int64_t>(),
                      .data_position = state.at("data_position").dump(),
                      .validation_loss = {}};
    const auto validated = state.find("validation_loss");
    if (validated != state.end() && validated->is_number()) progress.validation_loss = validated->get<double>();
    return progress;
  } catch (const nlohmann::json::exception& error) {
    throw StorageError(std::string("[checkpoint state] expected step, samples, seed and data_position, got: ") +
                       error.what());
  }
}

}  // namespace millrace
