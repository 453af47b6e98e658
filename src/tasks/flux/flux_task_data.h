// The data of a FLUX task: its data sets, whether they fit the model, and the batches from them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/kohya_metadata.h"
#include "comm/mesh.h"
#include "diffusion/flux_batches.h"
#include "diffusion/flux_data.h"
#include "diffusion/flux_front_end.h"
#include "diffusion/latent_cache.h"
#include "diffusion/picture_set_batches.h"
#include "models/flux/config.h"
#include "tasks/flux/flux_validation.h"
#include "train/task.h"

namespace millrace {

class FluxTaskData {
 public:
  // Opens the data sets that the purpose needs. config and mesh must outlive this; caches that are "auto" in the
  // configuration become what suits the training data. Throws as training_dataset() and validation_dataset() do.
  FluxTaskData(FluxRunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose);

  // Of encoded samples; null: there are none.
  const EncodingShapes* shapes() const;
  // Whether the frozen networks are needed for the data; a run may want them to draw, too.
  bool needs_networks() const;
  bool trains_on_encodings() const { return training_ && training_->shapes; }
  bool trains_on_originals() const { return training_ && !training_->shapes; }

  // Throws for data that does not fit the model or each other. front_end: whose codec is loaded if it will be.
  void check(const FluxFrontEnd& front_end, const flux::FluxConfig& sizes);

  // Null without training data. front_end must outlive the batches.
  std::unique_ptr<FluxBatchSource> training_batches(FluxFrontEnd& front_end);
  // Each sample once; nullptr: nothing is validated on.
  std::unique_ptr<FluxBatchSource> validation_batches(FluxFrontEnd& front_end);
  // All but the objective.
  FluxValidationOptions validation_options() const;

  bool validation_has_captions() const { return validation_ && !validation_->shapes; }
  // The first ones, at most; the same on every rank, which reads them by itself.
  std::vector<std::string> validation_captions(int64_t most) const;

  // About the data, for the metadata of a LoRA file.
  TrainingFacts facts() const;
  int64_t steps_per_epoch() const;  // of pictures in folders; 0: unknown

  int64_t downscale(const FluxFrontEnd& front_end) const;  // pixels per latent, along one side

 private:
  void choose_caches(FluxRunConfig& config) const;
  void check_encoded_by_the_same() const;
  void check_validation_data();
  void check_picture_sizes(int64_t unit) const;
  FluxBatchesOptions shard_options(const FluxDataset& data) const;
  FluxBatchesOptions validation_shards() const;
  PictureSetBatchesOptions picture_options(const FluxDataset& data);
  std::shared_ptr<LatentCache> latent_cache();
  std::shared_ptr<KohyaPictureCaches> kohya_caches();
  std::string autoencoder_identity() const;

  const FluxRunConfig& config_;
  Mesh& mesh_;
  torch::Device device_;
  uint64_t seed_;
  std::optional<FluxDataset> training_, validation_;
  TimestepUse validation_timesteps_ = TimestepUse::kUnused;
  // Of training and validation; null: not made yet, or none.
  std::shared_ptr<LatentCache> cache_;
  std::shared_ptr<KohyaPictureCaches> kohya_caches_;
};

}  // namespace millrace
