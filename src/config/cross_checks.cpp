#include "config/cross_checks.h"

#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

void check_model(const ModelConfig& model, Problems& problems) {
  if (model.hidden_size > 0 && model.num_heads > 0) {
    if (model.hidden_size % model.num_heads != 0) {
      problems.add("model.hidden_size",
                   str("expected a multiple of model.num_heads (", model.num_heads, "), got ", model.hidden_size));
    } else if (!model.axes_dim.empty()) {
      const int64_t head_dim = model.hidden_size / model.num_heads;
      const int64_t sum = std::accumulate(model.axes_dim.begin(), model.axes_dim.end(), int64_t{0});
      if (sum != head_dim) {
        problems.add("model.axes_dim",
                     str("expected numbers with the sum hidden_size / num_heads = ", head_dim, ", got the sum ", sum));
      }
    }
  }
  if (!model.axes_dim.empty() && model.axes_dim.size() != 3) {
    problems.add("model.axes_dim", str("expected 3 numbers (text, row, column), got ", model.axes_dim.size()));
  }
  for (const int64_t size : model.axes_dim) {
    if (size % 2 != 0) problems.add("model.axes_dim", str("expected even numbers, got ", size));
  }
}

void check_encoder(const EncoderConfig& encoder, Problems& problems) {
  if (encoder.autoencoder_shift.has_value() != encoder.autoencoder_scale.has_value()) {
    problems.add("encoder.autoencoder_scale",
                 "expected autoencoder_shift and autoencoder_scale both or neither, got one of them");
  }
}

void check_training(const RunConfig& config, Problems& problems) {
  const TrainingConfig& training = config.training;
  if (training.global_batch_size == 0) {
    problems.add("training.global_batch_size", "expected -1 or at least 1, got 0");
  } else if (training.global_batch_size > 0 && training.global_batch_size % training.local_batch_size != 0) {
    problems.add("training.global_batch_size", str("expected a multiple of training.local_batch_size (",
                                                   training.local_batch_size, "), got ", training.global_batch_size));
  }
  if (config.optimizer.stochastic_rounding && training.dtype != "bfloat16") {
    problems.add("optimizer.stochastic_rounding",
                 "expected training.dtype = \"bfloat16\" with it, got \"" + training.dtype + "\"");
  }
}

// Pictures must divide into patches of the latent, which is 8 times smaller than the picture unless the model works on
// pixels.
void check_image_size(const RunConfig& config, const std::string& place, int64_t size, Problems& problems) {
  const int64_t patch_size = config.model.patch_size > 0 ? config.model.patch_size : 2;
  const int64_t unit = patch_size * (config.encoder.autoencoder_path == "none" ? 1 : 8);
  if (size % unit != 0) {
    problems.add(place, str("expected a multiple of ", unit, " pixels (one image token), got ", size));
  }
}

void check_sample(const RunConfig& config, Problems& problems) {
  const SampleConfig& sample = config.sample;
  if (!sample.prompts.empty() && !sample.prompts_file.empty()) {
    problems.add("sample.prompts_file", "expected prompts or prompts_file, got both");
  }
  if (sample.every_steps == 0) return;
  const std::filesystem::path validation_folder = config.validation.save_img_folder;
  if ((validation_folder / "").lexically_normal() == "samples/") {
    problems.add("validation.save_img_folder",
                 "expected another folder than \"samples\", where sample.every_steps puts its grids");
  }
  const bool has_prompts = !sample.prompts.empty() || !sample.prompts_file.empty();
  const EncoderConfig& encoder = config.encoder;
  bool can_draw = true;  // a run on preprocessed data may load none of these
  for (const auto& [key, path] : {std::pair{"encoder.t5_encoder", encoder.t5_encoder},
                                  {"encoder.clip_encoder", encoder.clip_encoder},
                                  {"encoder.autoencoder_path", encoder.autoencoder_path}}) {
    if (!path.empty()) continue;
    can_draw = false;
    if (has_prompts) problems.add(key, "expected a path to draw sample.prompts with, got nothing");
  }
  if (can_draw && !has_prompts) {
    problems.add("sample.prompts", "expected at least one prompt, got none (or set sample.every_steps to 0)");
  }
}

void check_profiling(const ProfilingConfig& profiling, Problems& problems) {
  if (!profiling.enable_profiling || profiling.wait_steps) return;
  const int64_t used = profiling.warmup_steps + profiling.active_steps;
  if (profiling.profile_freq < used) {
    problems.add("profiling.profile_freq",
                 str("expected at least warmup_steps + active_steps = ", used, ", got ", profiling.profile_freq));
  }
}

}  // namespace

void check_between_options(const RunConfig& config, Problems& problems) {
  check_model(config.model, problems);
  check_encoder(config.encoder, problems);
  check_training(config, problems);
  check_image_size(config, "training.img_size", config.training.img_size, problems);
  if (config.sample.img_size > 0) check_image_size(config, "sample.img_size", config.sample.img_size, problems);
  check_sample(config, problems);
  check_profiling(config.profiling, problems);
  if (config.validation.steps == 0) problems.add("validation.steps", "expected -1 or at least 1, got 0");
  if (config.parallelism.data_parallel_shard_degree == 0) {
    problems.add("parallelism.data_parallel_shard_degree", "expected -1 or at least 1, got 0");
  }
}

void check_trainable(const RunConfig& config) {
  Problems problems;
  const auto check = [&](const std::string& key, const std::string& name, const std::string& path) {
    if (!path.empty()) return;
    if (!name.empty() && (find_dataset_kind(name).is_made_up || *find_dataset_kind(name).usual_path)) return;
    problems.add(key + "_path", "expected tar shards, a data set's folder or a pattern, got nothing");
  };
  check("training.dataset", config.training.dataset, config.training.dataset_path);
  if (config.validation.enable) check("validation.dataset", config.validation.dataset, config.validation.dataset_path);
  problems.throw_if_any();
}

namespace {

Problems mesh_problems(const RunConfig& config, int64_t world_size) {
  const int64_t replicate = config.parallelism.data_parallel_replicate_degree;
  const int64_t shard = config.parallelism.data_parallel_shard_degree;
  const int64_t tp = config.parallelism.tensor_parallel_degree;
  const int64_t heads = config.model.num_heads;
  Problems problems;
  if (tp > world_size || world_size % tp != 0) {
    problems.add("parallelism.tensor_parallel_degree",
                 str("expected a divisor of the number of ranks, ", world_size, ", got ", tp));
  } else if (heads > 0 && heads % tp != 0) {
    problems.add("parallelism.tensor_parallel_degree",
                 str("expected a divisor of model.num_heads, ", heads, ", got ", tp));
  } else {
    const int64_t data_ranks = world_size / tp;
    const std::string ranks = tp == 1 ? str("the number of ranks, ", world_size)
                                      : str("ranks / tensor_parallel_degree, ", world_size, " / ", tp);
    const bool fits = shard == -1 ? data_ranks % replicate == 0
                                  : replicate <= data_ranks && shard <= data_ranks && replicate * shard == data_ranks;
    if (!fits) {
      const std::string product =
          shard == -1 ? "a divisor of " : str("times data_parallel_shard_degree (", shard, ") to be ");
      problems.add("parallelism.data_parallel_replicate_degree", str("expected ", product, ranks, ", got ", replicate));
    }
  }
  return problems;
}

}  // namespace

MeshDegrees mesh_degrees(const RunConfig& config, int64_t world_size) {
  mesh_problems(config, world_size).throw_if_any();
  const int64_t replicate = config.parallelism.data_parallel_replicate_degree;
  const int64_t shard = config.parallelism.data_parallel_shard_degree;
  const int64_t tp = config.parallelism.tensor_parallel_degree;
  const int64_t sharing = shard == -1 ? world_size / tp / replicate : shard;
  return {
      .dp_replicate = static_cast<int>(replicate), .dp_shard = static_cast<int>(sharing), .tp = static_cast<int>(tp)};
}

void fit_mesh(RunConfig& config, int64_t world_size) {
  if (mesh_problems(config, world_size).empty()) return;
  config.parallelism.data_parallel_replicate_degree = 1;
  config.parallelism.data_parallel_shard_degree = -1;
  config.parallelism.tensor_parallel_degree = 1;
}

void check_ranks(const RunConfig& config, int64_t world_size) {
  const MeshDegrees degrees = mesh_degrees(config, world_size);
  Problems problems;
  const int64_t micro_batch = config.training.local_batch_size * degrees.dp_replicate * degrees.dp_shard;
  if (config.training.global_batch_size > 0 && config.training.global_batch_size % micro_batch != 0) {
    problems.add("training.global_batch_size", str("expected a multiple of local_batch_size times the data ranks (",
                                                   micro_batch, "), got ", config.training.global_batch_size));
  }
  problems.throw_if_any();
}

}  // namespace millrace
