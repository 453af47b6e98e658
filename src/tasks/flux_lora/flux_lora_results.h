// What a LoRA run leaves for other programs beside its checkpoints: lora.safetensors, files under sd-scripts' names,
// and what the log says about both.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "adapters/adapter_file.h"
#include "adapters/background_file_hash.h"
#include "adapters/kohya_metadata.h"
#include "comm/mesh.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/kohya_file_names.h"
#include "models/flux/config.h"

namespace millrace {

class FluxLoraResults {
 public:
  using Files = std::vector<std::filesystem::path>;

  // trainee: adapters. dtype: of the run's computation. data_facts: about the data, for the files' metadata. All that
  // is referred to must outlive this.
  FluxLoraResults(const FluxRunConfig& config, const flux::FluxConfig& sizes, torch::Dtype dtype, FluxTrainee& trainee,
                  Mesh& mesh, std::function<TrainingFacts()> data_facts);

  // Before each microbatch, on every rank. Before the first one the adapters have the values that they start from, and
  // hashing the base's file may begin.
  void before_microbatch();

  // lora.safetensors. epochs: done. All ranks call it; the first returns the files.
  Files write(int64_t step, int64_t epochs, const std::filesystem::path& run_folder);

  // Whether files under sd-scripts' names are due.
  bool keeps(const KohyaMoment& moment) const;
  // Writes those, and removes the ones that they take the place of. All ranks call it; the first returns the files.
  Files keep(const KohyaMoment& moment, const std::filesystem::path& run_folder);

 private:
  // Two sums over all adapters: the same before and after where nothing was learnt.
  using Sums = std::pair<double, double>;
  static Sums sums_of(const torch::Tensor& whole);

  bool writes() const { return mesh_.world().rank() == 0; }
  std::vector<AdapterTensors> adapters_of(const torch::Tensor& whole) const;
  Files write_file(const std::filesystem::path& path, int64_t step, int64_t epoch,
                   const std::vector<AdapterTensors>& adapters);
  void start_base_hash();
  TrainingFacts facts();
  void warn_if_unchanged(const torch::Tensor& whole, int64_t step) const;
  void warn_if_at_start(const std::vector<AdapterTensors>& adapters, int64_t step) const;

  const FluxRunConfig& config_;
  const flux::FluxConfig& sizes_;
  torch::Dtype dtype_;
  FluxTrainee& trainee_;
  Mesh& mesh_;
  std::function<TrainingFacts()> data_facts_;
  double started_at_;                            // seconds since 1970
  std::optional<Sums> start_;                    // of a run that starts from a file of adapters
  std::optional<BackgroundFileHash> base_hash_;  // from the first microbatch on
  bool said_readers_ = false;
};

}  // namespace millrace
