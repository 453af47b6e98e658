// The file in which a run leaves its adapters, for other programs: lora.safetensors, as sd-scripts writes it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "adapters/adapter_file.h"
#include "adapters/kohya_metadata.h"
#include "diffusion/flux_run_config.h"
#include "models/flux/config.h"
#include "models/flux/lora_names.h"

namespace millrace {

// Of the run so far.
struct LoraProgress {
  int64_t step = 0;
  int64_t epoch = 0;
  double started_at = 0, now = 0;  // seconds since 1970
};

// What the configuration says, in sd-scripts' words: ss_* without the prefix. Facts that a data set of pictures has
// besides (ss_datasets) are not among them; those that sd-scripts has and this program does not are None.
TrainingFacts lora_facts(const FluxRunConfig& config, const flux::FluxConfig& sizes, const LoraProgress& progress);

// flux::sort_run_adapters() with one adapter for each layer, and split_qkv_alpha as the configuration says: as kohya's
// file has them.
flux::LoraParts kohya_parts(const std::vector<AdapterTensors>& adapters, const FluxRunConfig& config,
                            const flux::FluxConfig& sizes);

// Atomic. adapters: as configured_adapters() gives them. dtype: of the run's computation, for save_dtype auto. Then
// reads the file as another program would and compares what the adapters do. more: facts about the data, which replace
// those of the same names. Returns the files. Throws StorageError where one does something else: numbers that
// save_dtype cannot hold.
std::vector<std::filesystem::path> write_lora_result(const std::filesystem::path& path,
                                                     const std::vector<AdapterTensors>& adapters,
                                                     const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                                     torch::ScalarType dtype, const LoraProgress& progress,
                                                     const TrainingFacts& more = {});
// The file beside it, in diffusers' naming, that write_lora_result() writes too where needs_diffusers_file().
std::string diffusers_file_name(const std::filesystem::path& path);

// Throws StorageError unless the file's adapters have the effects of these, one for each layer, as far as numbers of
// dtype hold them.
void check_lora_file(const std::filesystem::path& path, const flux::LoraParts& parts, const flux::FluxConfig& sizes,
                     torch::ScalarType dtype);

}  // namespace millrace
