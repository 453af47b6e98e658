// The tiny FLUX of sd-scripts' recorded runs (tests/golden/flux_lora), with LoRA as a task trains it.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "adapters/lora_options.h"
#include "diffusion/flux_adapters.h"
#include "diffusion/flux_batches.h"
#include "models/flux/model.h"
#include "nn/tensor_io.h"

namespace millrace {

inline const std::string kFluxGolden = MILLRACE_GOLDEN "/flux_lora/";

inline flux::FluxConfig golden_flux() {
  flux::FluxConfig config;
  config.vec_in_dim = config.context_in_dim = 32;
  config.hidden_size = 64;
  config.num_heads = 4;
  config.depth = config.depth_single_blocks = 2;
  config.axes_dim = {4, 6, 6};
  config.guidance_embed = true;
  return config;
}

// Rank 4 and alpha 2, as all recorded runs have it, with the recorded frozen weights.
inline std::unique_ptr<FluxAdapters> golden_adapters(LoraConfig config = {}, const FluxAdapterOptions& options = {},
                                                     std::vector<TrainedEncoder> encoders = {}) {
  config.rank = 4;
  config.alpha = 2;
  FlatParametersOptions placement;
  placement.training = true;
  auto adapters = std::make_unique<FluxAdapters>(config, golden_flux(), placement, options, std::move(encoders));
  adapters->model().flat_parameters().assign(load_tensors(kFluxGolden + "forward/base.safetensors"));
  adapters->initialize(1);
  return adapters;
}

// The largest difference, relative to the largest value expected.
inline double largest_error(const torch::Tensor& got, const torch::Tensor& expected) {
  return ((got - expected).abs().max() / expected.abs().max()).item<double>();
}

// A batch of these latents and encodings.
inline FluxBatch golden_batch(const torch::Tensor& latents, const torch::Tensor& txt, const torch::Tensor& y) {
  FluxBatch batch;
  batch.latent_BZhw = latents;
  batch.txt_BTX = txt;
  batch.y_BV = y;
  batch.num_samples = batch.global_rows = latents.size(0);
  for (int64_t i = 0; i < latents.size(0); ++i) {
    batch.sample_ids.push_back(static_cast<uint64_t>(i));
    batch.epochs.push_back(0);
  }
  return batch;
}

}  // namespace millrace
