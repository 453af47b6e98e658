// Sizes of FLUX's autoencoder.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/weights.h"

namespace millrace::autoencoder {

constexpr double kNormEps = 1e-6;  // of every group norm

struct AutoencoderConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 16;
  // Channels of each level, from full resolution down; every level but the last halves height and width.
  std::vector<int64_t> block_out_channels = {128, 256, 512, 512};
  int64_t layers_per_block = 2;  // residual blocks per level of the encoder; the decoder has one more
  int64_t norm_num_groups = 32;
  // Training sees scaling_factor * (latent - shift_factor). The autoencoder's own forward passes do not scale.
  double scaling_factor = 0.3611;
  double shift_factor = 0.1159;

  int64_t levels() const { return static_cast<int64_t>(block_out_channels.size()); }
  int64_t downscale() const { return int64_t{1} << (levels() - 1); }  // pixels per latent, along one side
};

// Throws ModelError unless the sizes fit together. place names the source in the message.
void check(const AutoencoderConfig& config, const std::string& place);

// From a config.json of diffusers' AutoencoderKL, or with Black Forest Labs' names (ch, ch_mult, num_res_blocks,
// z_channels, out_ch, scale_factor). Absent keys have FLUX's values.
AutoencoderConfig config_from_json(const nlohmann::json& json, const std::string& place);
nlohmann::ordered_json to_diffusers_json(const AutoencoderConfig& config);

// From the tensors of a file in either naming. Assumes 32 norm groups, as in every published autoencoder of this
// family; throws ModelError if they are impossible, or if the tensors are not an autoencoder's.
AutoencoderConfig config_from_shapes(const ShapeMap& theirs, Naming naming, const std::string& place);

}  // namespace millrace::autoencoder
