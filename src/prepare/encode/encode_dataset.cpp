#include "prepare/encode/encode_dataset.h"

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "data/dataset_files.h"
#include "data/dataset_kind.h"
#include "data/picture_decoder.h"
#include "diffusion/dataset_survey.h"
#include "diffusion/encoder_identity.h"
#include "diffusion/flux_setup.h"
#include "diffusion/rank_files.h"
#include "parallel/rank_session.h"
#include "prepare/encode/encode_networks.h"
#include "prepare/encode/output_folder.h"
#include "prepare/encode/sample_table.h"
#include "prepare/encode/unit_encoder.h"

namespace millrace {
namespace {

constexpr uint64_t kFileBytes = 500'000'000;  // about the file size of `datasets`
constexpr int64_t kMaxRowsPerFile = 10'000;
constexpr double kForever = 365.0 * 24 * 3600;  // seconds: ranks may be as far apart as their files are large

uint64_t bytes_per_row(const EncodingShapes& shapes) {
  const int64_t numbers = shapes.num_tokens * shapes.token_width + shapes.pooled_width +
                          2 * shapes.latent_channels * shapes.latent_rows * shapes.latent_columns;
  return static_cast<uint64_t>(numbers) * sizeof(uint16_t) + 1024;
}

// Everything that the output depends on.
nlohmann::ordered_json make_manifest(const FluxRunConfig& config, const EncodeNetworks& networks,
                                     const EncodingShapes& shapes, const std::vector<ShardFile>& files,
                                     const SampleTable& table, int64_t rows_per_file) {
  nlohmann::ordered_json manifest = {{"format", "millrace encodings, version 1"}};
  manifest.update(encoder_identity(config.encoder));
  manifest["t5"]["shape"] = {shapes.num_tokens, shapes.token_width};
  manifest["clip"]["shape"] = {shapes.pooled_width};
  manifest["autoencoder"]["shape"] = {shapes.latent_channels, shapes.latent_rows, shapes.latent_columns};
  manifest["autoencoder"]["arithmetic"] =
      autoencoder_dtype(networks.dtype, networks.device) == torch::kBFloat16 ? "bfloat16" : "float32";
  manifest["arithmetic"] = networks.dtype == torch::kBFloat16 ? "bfloat16" : "float32";
  manifest["dataset"] = {
      {"kind", config.training_pictures.dataset},         {"files", files.size()},
      {"fingerprint", checksum_text(fingerprint(files))}, {"samples", table.size()},
      {"img_size", config.training_pictures.img_size},    {"seed", config.training.seed.value_or(0)}};
  manifest["rows_per_file"] = rows_per_file;
  return manifest;
}

// The remaining units as seen by rank 0: ranks might read the folder at different times.
std::vector<int64_t> unfinished_units(const EncodingsFolder& folder, size_t num_units, Group& ranks,
                                      torch::Device device) {
  torch::Tensor finished = torch::zeros({static_cast<int64_t>(num_units)}, torch::kInt32);
  for (int64_t unit = 0; ranks.rank() == 0 && unit < finished.size(0); ++unit) {
    finished[unit] = folder.is_finished(unit) ? 1 : 0;
  }
  finished = finished.to(device);
  ranks.broadcast(finished, 0).wait();
  finished = finished.cpu();
  std::vector<int64_t> units;
  for (int64_t unit = 0; unit < finished.size(0); ++unit) {
    if (finished[unit].item<int32_t>() == 0) units.push_back(unit);
  }
  return units;
}

void check_free_space(const std::filesystem::path& folder, uint64_t bytes) {
  const uint64_t free = std::filesystem::space(folder).available;
  if (free >= bytes) return;
  throw StorageError(
      str("[", folder.string(), "] expected ", human_bytes(bytes), " of free space, got ", human_bytes(free)));
}

// Waits for every rank. Unlike a barrier it has no deadline: the watch handles lost ranks.
void meet(Communicator& ranks, const std::string& name) {
  const World& world = ranks.world();
  if (world.rank == 0) {
    for (int rank = 1; rank < world.size; ++rank) ranks.store().get(str("encode/", name, "/", rank), kForever);
    ranks.store().set(str("encode/", name), "all");
  } else {
    ranks.store().set(str("encode/", name, "/", world.rank), "here");
    ranks.store().get(str("encode/", name), kForever);
  }
}

// The samples finished by all ranks, for rank 0 to show.
class SharedProgress {
 public:
  SharedProgress(Communicator& ranks, const EncodeOptions& options, int64_t already_done, int64_t total)
      : ranks_(ranks), options_(options), already_done_(already_done), total_(total) {}

  void add(int64_t samples) {
    own_ += samples;
    const World& world = ranks_.world();
    const double now = now_seconds();
    if (now - last_told_ < 1 && world.size > 1) return;
    last_told_ = now;
    if (world.rank > 0) {
      ranks_.store().set(key(world.rank), std::to_string(own_));
      return;
    }
    int64_t done = already_done_ + own_;
    for (int rank = 1; rank < world.size; ++rank) {
      if (ranks_.store().has(key(rank))) done += std::stoll(ranks_.store().get(key(rank), 1));
    }
    if (options_.progress) options_.progress(done, total_);
  }
  int64_t own() const { return own_; }

 private:
  static std::string key(int rank) { return str("encode/done/", rank); }

  Communicator& ranks_;
  const EncodeOptions& options_;
  int64_t already_done_, total_, own_ = 0;
  double last_told_ = 0;
};

const DatasetKind& kind_of_pictures(const std::string& name) {
  const DatasetKind& kind = find_dataset_kind(name);
  if (kind.is_encoded || kind.is_synthetic) {
    throw ConfigError(str("[training.dataset] expected pictures with captions, got ", name, ", whose samples are ",
                          kind.is_encoded ? "encoded already" : "made up as they are trained on"));
  }
  return kind;
}

class DatasetEncoding {
 public:
  DatasetEncoding(const FluxRunConfig& config, const EncodeOptions& options, Communicator& ranks, torch::Device device)
      : config_(config),
        options_(options),
        ranks_(ranks),
        world_(ranks.mesh().world()),
        kind_(kind_of_pictures(config.training_pictures.dataset)),
        place_(config.training_pictures.dataset_path.empty() ? kind_.default_path
                                                             : config.training_pictures.dataset_path),
        cache_(list_rank_files(kind_, config.training_pictures.dataset_path, "training.dataset_path", world_, device)) {
    networks_.device = device;
  }

  EncodeSummary run() {
    load_autoencoder(networks_, config_);
    const EncodingShapes shapes = encoding_shapes(networks_, config_);
    const int64_t limit = config_.training.subset_size.value_or(kind_.subset_size);
    const DatasetSurvey survey = survey_dataset(cache_, world_, networks_.device);
    if (!options_.allow_damaged_shards) {
      check_files_are_whole(survey, cache_.shards(), limit,
                            "downloading it again, or --allow-damaged-shards to use the intact part");
    }
    const SampleTable table(survey.samples, limit);
    if (table.size() == 0) throw DataError(str("[", place_, "] expected samples to encode, got none"));
    if (kind_.needs_timesteps) {
      PictureDecoderOptions pictures{.skip_small = false, .timesteps = TimestepUse::kRequired};
      pictures.transform.size = static_cast<int>(config_.training_pictures.img_size);
      check_first_timestep(cache_, PictureDecoder(pictures));
    }
    const int64_t rows_per_file =
        options_.rows_per_file > 0
            ? options_.rows_per_file
            : std::clamp<int64_t>(static_cast<int64_t>(kFileBytes / bytes_per_row(shapes)), 1, kMaxRowsPerFile);
    const std::vector<SampleRange> units = cut_into_units(table.size(), rows_per_file);
    const EncodingsFolder folder(options_.output, static_cast<int64_t>(units.size()));
    const bool is_first = world_.rank() == 0;
    nlohmann::ordered_json manifest;
    if (is_first) {
      manifest = make_manifest(config_, networks_, shapes, cache_.shards(), table, rows_per_file);
      folder.claim(manifest);
    }
    const std::vector<int64_t> left = unfinished_units(folder, units.size(), world_, networks_.device);
    EncodeSummary summary;
    if (!left.empty()) {
      if (is_first) check_free_space(options_.output, space_needed(units, left, bytes_per_row(shapes)));
      summary.encoded_now = encode_units(folder, table, units, left);
    }
    meet(ranks_, "finished");
    if (is_first) {
      check_bad_samples(folder, units, left);
      const UnitReport total = folder.finish(manifest);
      summary.rows = total.rows;
      summary.bad = total.bad;
      summary.small = total.small;
      summary.files = static_cast<int64_t>(units.size());
      if (options_.progress) options_.progress(table.size(), table.size());
    }
    return summary;
  }

 private:
  static uint64_t space_needed(const std::vector<SampleRange>& units, const std::vector<int64_t>& left,
                               uint64_t bytes) {
    uint64_t samples = 0;
    for (const int64_t unit : left) samples += static_cast<uint64_t>(units[static_cast<size_t>(unit)].size());
    return samples * bytes;
  }

  int64_t encode_units(const EncodingsFolder& folder, const SampleTable& table, const std::vector<SampleRange>& units,
                       const std::vector<int64_t>& left) {
    load_caption_encoders(networks_, config_, &ranks_.mesh());
    const bool sharded = networks_.encoders.tokens->is_sharded() || networks_.encoders.pooled->is_sharded();
    meet(ranks_, "loaded");
    UnitEncoderOptions unit_options;
    unit_options.batch_size = config_.training.local_batch_size;
    unit_options.img_size = config_.training_pictures.img_size;
    unit_options.num_workers = num_workers();
    unit_options.seed = static_cast<uint64_t>(config_.training.seed.value_or(0));
    unit_options.bad_samples.max_fraction = config_.training.max_bad_samples;
    UnitEncoder encoder(unit_options, kind_, cache_, table, networks_);

    int64_t samples_left = 0;
    for (const int64_t unit : left) samples_left += units[static_cast<size_t>(unit)].size();
    SharedProgress progress(ranks_, options_, table.size() - samples_left, table.size());
    // With sharded weights all ranks run the networks equally often: as often as the largest unit may need.
    const int64_t calls = sharded ? (units.front().size() + unit_options.batch_size - 1) / unit_options.batch_size : 0;
    for (size_t round = 0; round < left.size(); round += static_cast<size_t>(world_.size())) {
      const size_t own = round + static_cast<size_t>(world_.rank());
      if (own >= left.size()) {
        for (int64_t call = 0; call < calls; ++call) join_collectives(networks_);
        continue;
      }
      const int64_t unit = left[own];
      encoder.encode(
          units[static_cast<size_t>(unit)], folder.file_of(unit), calls,
          [&folder, unit](const UnitReport& report) { folder.note(unit, report); },
          [&](int64_t samples) {
            ranks_.watch().check();
            progress.add(samples);
          });
      ranks_.watch().set_step(static_cast<int64_t>(round) + 1);
    }
    encoder.wait_for_files();
    return progress.own();
  }

  int num_workers() const {
    constexpr int kMaxWorkers = 8;
    if (config_.training.num_workers > 0) return static_cast<int>(config_.training.num_workers);
    return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxWorkers);
  }

  // Over all files, including those of earlier runs.
  void check_bad_samples(const EncodingsFolder& folder, const std::vector<SampleRange>& units,
                         const std::vector<int64_t>& left) const {
    if (left.empty() && folder.is_complete()) return;
    int64_t bad = 0, seen = 0;
    std::string example;
    for (size_t unit = 0; unit < units.size(); ++unit) {
      const UnitReport report = folder.report_of(static_cast<int64_t>(unit));
      bad += report.bad;
      seen += units[unit].size();
      if (example.empty() && !report.problems.empty()) example = report.problems.front();
    }
    const double limit = config_.training.max_bad_samples;
    if (static_cast<double>(bad) <= limit * static_cast<double>(seen)) return;
    throw DataError(str("[", place_, "] expected at most ", format_double("%g", 100 * limit),
                        " % bad samples (training.max_bad_samples), got ", bad, " of ", seen,
                        ", the first: ", example));
  }

  const FluxRunConfig& config_;
  const EncodeOptions& options_;
  Communicator& ranks_;
  Group& world_;
  const DatasetKind& kind_;
  const std::string place_;
  ShardCache cache_;
  EncodeNetworks networks_;
};

}  // namespace

EncodeSummary encode_dataset(const FluxRunConfig& config, const EncodeOptions& options, const World& world,
                             const std::string& version) {
  // Ranks that share T5's weights wait for each other while one of them sends a batch of pictures through the
  // autoencoder, which takes minutes on a CPU. A rank that dies is still detected at once.
  constexpr int64_t kPatience = 3600;
  FluxRunConfig patient = config;
  patient.comm.train_timeout_seconds = std::max(patient.comm.train_timeout_seconds, kPatience);
  EncodeSummary summary;
  with_ranks(patient, world, version, [&](Communicator& ranks, torch::Device device) {
    summary = DatasetEncoding(config, options, ranks, device).run();
  });
  return summary;
}

}  // namespace millrace
