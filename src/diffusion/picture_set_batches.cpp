#include "diffusion/picture_set_batches.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/sample_digest.h"
#include "diffusion/flow_matching.h"
#include "formats/json.h"
#include "images/transform.h"
#include "picture_sets/trained_caption.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

using SortedJson = nlohmann::json;

constexpr int kPositionVersion = 1;
constexpr size_t kMostNamed = 20;  // pictures that cannot be loaded

const PicturePart& part_of(const PictureSet& set, bool is_validation) {
  return is_validation ? set.validation : set.train;
}

std::string colours_text(const ColourChange& colours) {
  if (colours == ColourChange()) return "";
  return format_double(colours.kind == ColourChange::Kind::kHue ? " hue %+.17g" : " gamma %.17g", colours.amount);
}

// All that the latents of a picture depend on, but for the autoencoder.
std::string cache_key(const Picture& picture, const Augmentation& drawn, const LoadRequest& request) {
  return str("content ", checksum_text(request.content), " scaled to ", size_text(drawn.resized), " by ",
             static_cast<int>(request.filter), " cut to ", size_text(picture.choice.bucket), " at ", drawn.offset.width,
             ", ", drawn.offset.height, drawn.is_mirrored ? " mirrored" : "", colours_text(drawn.colours),
             request.alpha_mask ? " with alpha" : "",
             picture.file.mask_path.empty() ? "" : " with mask " + checksum_text(request.mask_content));
}

// The cache key of a picture's latents in sd-scripts' file, which are one draw, unlike what the autoencoder gives. A
// file that is only read may be another one in the next run.
std::string key_in_file(const std::string& key, const std::filesystem::path& file, KohyaCacheUse use) {
  if (file.empty() || !reads(use)) return "";
  const std::string in_file = key + " in " + file.string();
  if (use == KohyaCacheUse::kReadsAndWrites) return in_file;
  std::error_code error;
  const auto written = std::filesystem::last_write_time(file, error);
  return error ? "" : in_file + str(" of ", written.time_since_epoch().count());
}

// The one draw that sd-scripts' files have: the same on every rank, whichever of them encodes the picture.
RandomStream draw_for_file(uint64_t seed, const Augmentation& drawn, const LoadRequest& request) {
  return random_stream(seed, RandomPurpose::kPosterior, 0, request.content ^ static_cast<uint64_t>(drawn.is_mirrored));
}

template <typename Value>
Value read_number(const SortedJson& json, const char* key) {
  if (!json.contains(key) || !json[key].is_number_unsigned()) {
    throw DataError(std::string("[data position] expected a number ") + key + ", got " +
                    (json.contains(key) ? json[key].dump() : "none"));
  }
  return json[key].get<Value>();
}

}  // namespace

PictureSetBatches::PictureSetBatches(const PictureSetBatchesOptions& options, FluxFrontEnd& front_end)
    : options_(options),
      front_end_(front_end),
      order_(options_.data->sets, options.seed),
      pool_(decoding_threads(options.num_workers)) {
  if (options_.kohya_caches && options_.kohya_caches->text_use() != KohyaCacheUse::kNone) {
    kohya_texts_.emplace(*options_.kohya_caches, front_end_.encoders);
  }
  if (options_.is_validation) validation_ = plan_validation(options_.data->sets, options.validation_batch_size);
  for (const PictureSet& set : options_.data->sets) {
    num_pictures_ += static_cast<int64_t>(part_of(set, options_.is_validation).pictures.size());
  }
}

// Planning: which rows this rank has, and what is drawn for each

bool PictureSetBatches::plan_next() {
  if (options_.is_validation && next_validation_ == validation_.size()) return false;
  const PlannedPictures& batch = options_.is_validation ? validation_[next_validation_++] : order_.next();
  Planned planned;
  planned.after = order_.position();
  planned.epoch = options_.is_validation ? 0 : planned.after.epoch;
  planned.global_rows = static_cast<int64_t>(batch.samples.size());
  const PicturePart& part = part_of(options_.data->sets[batch.set], options_.is_validation);
  planned.size = part.buckets[batch.bucket].resolution;
  const std::vector<SubsetOptions>& subsets = options_.data->sets[batch.set].options.subsets;
  planned.preserves_any = std::any_of(batch.samples.begin(), batch.samples.end(), [&](const PlannedPicture& sample) {
    return preserves_output(subsets[part.pictures[sample.picture].subset]);
  });
  const PictureRows own = rows_of_rank(batch.samples.size(), options_.rank, options_.num_ranks);
  for (size_t number = own.begin; number < own.end; ++number) {
    planned.rows.push_back(plan_row(batch, number, planned.after));
    start_loading(planned.rows.back());
  }
  planned_.push_back(std::move(planned));
  return true;
}

PictureSetBatches::Row PictureSetBatches::plan_row(const PlannedPictures& batch, size_t number,
                                                   const PicturePosition& at) const {
  const PictureData& data = *options_.data;
  const PlannedPicture& sample = batch.samples[number];
  Row row;
  row.set = &data.sets[batch.set];
  row.picture = &part_of(*row.set, options_.is_validation).pictures[sample.picture];
  row.id = sample.id;
  row.row = static_cast<int64_t>(number);
  const SubsetOptions& subset = row.set->options.subsets[row.picture->subset];
  const SetContents& contents = data.contents[batch.set];
  const PartContents& part = options_.is_validation ? contents.validation : contents.train;
  row.request = {.alpha_mask = subset.alpha_mask,
                 .content = part.pictures[sample.picture],
                 .mask_content = part.masks.empty() ? 0 : part.masks[sample.picture]};
  const std::string& caption = row.picture->file.caption;
  if (options_.is_validation) {
    row.drawn = fixed_augmentation(*row.picture, subset);
    row.caption = fixed_caption(caption, subset);
  } else {
    const uint32_t variant =
        options_.variants == 0 ? at.epoch : static_cast<uint32_t>(at.epoch % static_cast<uint64_t>(options_.variants));
    row.drawn = draw_augmentation(*row.picture, subset, augmentation_stream(options_.seed, variant, row.id));
    const auto step = static_cast<int64_t>(at.batches - 1) / options_.batches_per_step;
    PhiloxSource random(caption_stream(options_.seed, variant, row.id));
    row.caption = trained_caption(caption, subset, {int64_t{at.epoch} + 1, step, options_.max_steps}, random);
  }
  row.request.filter = trained_filter(row.set->options, subset, row.picture->size, row.drawn.resized);
  row.key = cache_key(*row.picture, row.drawn, row.request);
  if (!options_.kohya_caches) return row;
  row.latents = options_.kohya_caches->latents_file(*row.picture, row.drawn);
  row.key_in_file = key_in_file(row.key, row.latents, options_.kohya_caches->latents_use());
  return row;
}

void PictureSetBatches::start_loading(Row& row) {
  if (options_.cache) {
    std::error_code error;
    const bool is_in_file = !row.key_in_file.empty() &&
                            (options_.cache->holds(row.key_in_file) || std::filesystem::exists(row.latents, error));
    if (is_in_file || options_.cache->holds(row.key)) return;
  }
  row.loading = pool_.submit(
      [picture = row.picture, drawn = row.drawn, request = row.request] { return load(*picture, drawn, request); });
}

PictureSetBatches::LoadedPicture PictureSetBatches::load(const Picture& picture, const Augmentation& drawn,
                                                         const LoadRequest& request) {
  LoadedPicture loaded;
  try {
    const TrainedPixels pixels = load_trained_pixels(picture, drawn, request);
    loaded.is_truncated = pixels.is_truncated;
    const int64_t height = pixels.picture.height, width = pixels.picture.width;
    loaded.image_1CHW = torch::empty({1, 3, height, width}, torch::kFloat32);
    image_to_planes(pixels.picture, loaded.image_1CHW.data_ptr<float>());
    if (!pixels.mask.empty()) {
      loaded.mask_11HW = torch::empty({1, 1, height, width}, torch::kFloat32);
      std::transform(pixels.mask.begin(), pixels.mask.end(), loaded.mask_11HW.data_ptr<float>(),
                     [](uint8_t value) { return static_cast<float>(value) / 255; });
    }
  } catch (const Error& error) {
    loaded.problem = error.what();
  } catch (const std::bad_alloc&) {
    loaded.problem = "[" + printable(picture.file.path) + "] expected a picture that fits in memory, got a larger one";
  }
  return loaded;
}

// A batch

FluxBatch PictureSetBatches::next() {
  const auto wanted = static_cast<size_t>(1 + std::max(0, options_.prefetch_batches));
  while (planned_.size() < wanted && plan_next()) {
  }
  FluxBatch batch;
  if (planned_.empty()) {
    batch.end_of_data = true;
    return batch;
  }
  Planned planned = std::move(planned_.front());
  planned_.pop_front();
  position_ = planned.after;
  batch.global_rows = planned.global_rows;
  encode_pictures(planned, batch);

  // Rows are now those that could be loaded.
  std::vector<std::string> captions;
  std::vector<float> weights;
  batch.preserves_any = planned.preserves_any;
  for (const Row& row : planned.rows) {
    if (preserves_output(row.set->options.subsets[row.picture->subset])) {
      batch.preserved_rows.push_back(static_cast<int64_t>(captions.size()));
    }
    batch.time_offsets.push_back(timestep_offset(row.set->options.subsets[row.picture->subset]));
    captions.push_back(row.caption);
    weights.push_back(row.picture->is_reg ? static_cast<float>(row.set->options.prior_loss_weight) : 1.0F);
  }
  batch.num_samples = static_cast<int64_t>(planned.rows.size());
  batch.digest = sample_digest(batch.epochs, batch.sample_ids);
  if (planned.rows.empty()) {  // the dummy: encode_pictures() has made its latents
    captions = {""};
    batch.sample_ids = {0};
    batch.epochs = {0};
    batch.rows = {0};
  }
  const bool has_offsets =
      std::any_of(batch.time_offsets.begin(), batch.time_offsets.end(), [](double x) { return x != 0; });
  if (!has_offsets) batch.time_offsets.clear();
  batch.timesteps.assign(captions.size(), -1);
  if (std::any_of(weights.begin(), weights.end(), [](float weight) { return weight != 1; })) {
    batch.weight_B = torch::tensor(weights).to(options_.device);
  }
  const CaptionEncoders& encoders = front_end_.encoders;
  const bool for_training = !options_.is_validation;
  if (kohya_texts_) {
    std::vector<const Picture*> pictures;
    for (const Row& row : planned.rows) pictures.push_back(row.picture);
    kohya_texts_->encode(pictures, std::move(captions), for_training, batch);
  } else {
    encode_captions(encoders, std::move(captions), for_training, batch);
  }
  return batch;
}

void PictureSetBatches::encode_pictures(Planned& planned, FluxBatch& batch) {
  std::vector<torch::Tensor> images, masks, means, logvars;
  PictureCodec& codec = *front_end_.codec;
  if (options_.cache) {
    for (const CachedLatents& latents : encode_once(planned, batch)) {
      means.push_back(latents.moments.mean_BZhw);
      logvars.push_back(latents.moments.logvar_BZhw);
      masks.push_back(latents.mask_11hw);
    }
  } else {
    for (const LoadedPicture& loaded : wait_for(planned, batch)) {
      images.push_back(loaded.image_1CHW);
      masks.push_back(to_latent_size(loaded.mask_11HW));
    }
  }
  for (const Row& row : planned.rows) {
    batch.sample_ids.push_back(row.id);
    batch.epochs.push_back(planned.epoch);
    batch.rows.push_back(row.row);
  }
  const int64_t rows = planned.size.height / codec.downscale(), columns = planned.size.width / codec.downscale();
  const auto streams = sample_streams(options_.seed, RandomPurpose::kPosterior, batch.epochs, batch.sample_ids);
  if (planned.rows.empty()) {
    const auto floats = torch::TensorOptions().dtype(torch::kFloat32).device(options_.device);
    batch.latent_BZhw = torch::zeros({1, codec.channels(), rows, columns}, floats);
  } else if (options_.cache) {
    batch.latent_BZhw =
        codec.draw({torch::cat(means).to(options_.device), torch::cat(logvars).to(options_.device)}, streams);
  } else {
    batch.latent_BZhw = codec.encode(torch::cat(images).to(options_.device), streams);
  }
  MILLRACE_CHECK(batch.latent_BZhw.size(2) == rows && batch.latent_BZhw.size(3) == columns);
  fill_masks(masks, batch);
}

std::vector<CachedLatents> PictureSetBatches::encode_once(Planned& planned, FluxBatch& batch) {
  std::vector<CachedLatents> all;
  std::vector<Row> rows;
  for (Row& row : planned.rows) {
    std::optional<CachedLatents> latents = find_latents(row);
    if (!latents) {
      const double begin = now_seconds();
      const LoadedPicture loaded = row.loading.valid() ? row.loading.get() : load(*row.picture, row.drawn, row.request);
      batch.data_seconds += now_seconds() - begin;
      if (!loaded.problem.empty()) {
        note_bad(row, loaded.problem);
        continue;
      }
      if (loaded.is_truncated) note_truncated(row);
      latents = keep_latents(row, loaded);
    }
    all.push_back(*latents);
    rows.push_back(std::move(row));
  }
  planned.rows = std::move(rows);
  return all;
}

// In a cache, or in sd-scripts' file.
std::optional<CachedLatents> PictureSetBatches::find_latents(Row& row) {
  LatentCache& cache = *options_.cache;
  if (!row.key_in_file.empty()) {
    std::optional<CachedLatents> latents = cache.find(row.key_in_file);
    if (latents) return latents;
    latents = read_latents(row);
    if (latents) cache.keep(row.key_in_file, *latents);
    if (latents || options_.kohya_caches->latents_use() == KohyaCacheUse::kReadsAndWrites) return latents;
  }
  std::optional<CachedLatents> latents = cache.find(row.key);
  // What was kept before is written as well, but for masks, which are kept in the latent's size alone.
  const bool writes_it = latents && !row.latents.empty() && writes(options_.kohya_caches->latents_use()) &&
                         !row.request.alpha_mask && !options_.kohya_caches->has_written(row.latents, row.key);
  if (writes_it) write_latents(row, latents->moments, {});
  return latents;
}

// From sd-scripts' file, which does not have masks that are files of their own.
std::optional<CachedLatents> PictureSetBatches::read_latents(Row& row) {
  std::optional<CachedLatents> latents = options_.kohya_caches->read_latents(row.latents, row.key, *row.picture,
                                                                             row.drawn, row.request, *front_end_.codec);
  if (!latents || row.picture->file.mask_path.empty()) return latents;
  const LoadedPicture loaded = load(*row.picture, row.drawn, row.request);
  if (!loaded.problem.empty()) return std::nullopt;  // which is named where it is loaded again
  latents->mask_11hw = to_latent_size(loaded.mask_11HW);
  return latents;
}

// One at a time, so that the numbers do not depend on which pictures happen to be encoded together.
CachedLatents PictureSetBatches::keep_latents(const Row& row, const LoadedPicture& loaded) {
  const PictureMoments moments = front_end_.codec->moments(loaded.image_1CHW.to(options_.device));
  CachedLatents latents{{moments.mean_BZhw.cpu().contiguous(), moments.logvar_BZhw.cpu().contiguous()},
                        to_latent_size(loaded.mask_11HW)};
  const bool has_file = !row.latents.empty();
  const KohyaCacheUse use = has_file ? options_.kohya_caches->latents_use() : KohyaCacheUse::kNone;
  torch::Tensor draw_Zhw;
  if (writes(use)) draw_Zhw = write_latents(row, latents.moments, loaded.mask_11HW);
  if (use != KohyaCacheUse::kReadsAndWrites) {
    options_.cache->keep(row.key, latents);
    return latents;
  }
  latents.moments = front_end_.codec->moments_of(draw_Zhw.unsqueeze(0));
  options_.cache->keep(row.key_in_file, latents);
  return latents;
}

torch::Tensor PictureSetBatches::write_latents(const Row& row, const PictureMoments& moments,
                                               const torch::Tensor& mask_11HW) {
  const RandomStream stream = draw_for_file(options_.seed, row.drawn, row.request);
  const torch::Tensor draw_Zhw = front_end_.codec->draw(moments, {stream})[0];
  options_.kohya_caches->write_latents(row.latents, row.key, *row.picture, row.drawn, row.request, draw_Zhw, mask_11HW);
  return draw_Zhw;
}

std::vector<PictureSetBatches::LoadedPicture> PictureSetBatches::wait_for(Planned& planned, FluxBatch& batch) {
  const double begin = now_seconds();
  std::vector<LoadedPicture> all;
  std::vector<Row> rows;
  for (Row& row : planned.rows) {
    LoadedPicture loaded = row.loading.get();
    if (!loaded.problem.empty()) {
      note_bad(row, loaded.problem);
      continue;
    }
    if (loaded.is_truncated) note_truncated(row);
    all.push_back(std::move(loaded));
    rows.push_back(std::move(row));
  }
  planned.rows = std::move(rows);
  batch.data_seconds = now_seconds() - begin;
  return all;
}

torch::Tensor PictureSetBatches::to_latent_size(const torch::Tensor& mask_11HW) const {
  const int64_t downscale = front_end_.codec->downscale();
  if (!mask_11HW.defined() || downscale == 1) return mask_11HW;
  return at::avg_pool2d(mask_11HW, {downscale, downscale});
}

// A picture without a mask counts in full beside those that have one.
void PictureSetBatches::fill_masks(const std::vector<torch::Tensor>& masks_11hw, FluxBatch& batch) const {
  const auto has_mask = [](const torch::Tensor& mask) { return mask.defined(); };
  if (std::none_of(masks_11hw.begin(), masks_11hw.end(), has_mask)) return;
  const torch::Tensor whole = torch::ones({1, 1, batch.latent_BZhw.size(2), batch.latent_BZhw.size(3)});
  std::vector<torch::Tensor> masks;
  for (const torch::Tensor& mask : masks_11hw) masks.push_back(mask.defined() ? mask : whole);
  batch.mask_B1hw = torch::cat(masks).to(options_.device);
}

void PictureSetBatches::note_bad(const Row& row, const std::string& problem) {
  if (bad_.insert(row.picture->file.path).second && bad_.size() <= kMostNamed) {
    log_warning("skipped a picture that cannot be read: ", problem);
  }
  if (static_cast<double>(bad_.size()) <= options_.max_bad_fraction * static_cast<double>(num_pictures_)) return;
  throw DataError(str("[", printable(options_.data->place), "] expected at most ",
                      format_double("%g", 100 * options_.max_bad_fraction), " % unreadable pictures, got ", bad_.size(),
                      " of ", num_pictures_, " (try training.max_bad_samples)\n  ", problem));
}

void PictureSetBatches::note_truncated(const Row& row) {
  const std::string& path = row.picture->file.path;
  if (truncated_.insert(path).second && truncated_.size() <= kMostNamed) {
    log_warning("[", printable(path), "] expected a whole picture, got one cut short: trained on, grey or black below");
  }
}

// Positions

std::string PictureSetBatches::position() const {
  const SortedJson json = {
      {"version", kPositionVersion}, {"kind", "pictures"},       {"data_set", options_.data->identity},
      {"seed", options_.seed},       {"epoch", position_.epoch}, {"batch", position_.batch},
      {"batches", position_.batches}};
  return json.dump();
}

void PictureSetBatches::restore(const std::string& position) {
  const SortedJson json = parse_json<DataError>(position, "data position");
  if (!json.is_object() || json.value("kind", SortedJson()) != "pictures") {
    throw DataError(
        "[data position] expected that of a data set of pictures, got that of shards (try the data set that "
        "the run was started with)");
  }
  if (read_number<int>(json, "version") != kPositionVersion) {
    throw DataError(str("[data position] expected version ", kPositionVersion, ", got ", json["version"].dump()));
  }
  const auto seed = read_number<uint64_t>(json, "seed");
  if (seed != options_.seed) {
    throw DataError(str("[training.seed] expected that of the saved run, ", seed, ", got ", options_.seed));
  }
  check_same_identity(json.value("data_set", SortedJson::object()), options_.data->identity, options_.data->sets,
                      options_.data->place);
  planned_.clear();
  order_.seek({read_number<uint32_t>(json, "epoch"), read_number<uint64_t>(json, "batch"),
               read_number<uint64_t>(json, "batches")});
  position_ = order_.position();
}

// What the task must know

int64_t PictureSetBatches::batch_size() const {
  return options_.is_validation ? options_.validation_batch_size : largest_batch(options_.data->sets);
}

std::vector<PictureShare> PictureSetBatches::sizes() const {
  std::vector<PictureShare> sizes;
  double samples = 0;
  for (const PictureSet& set : options_.data->sets) {
    const PicturePart& part = part_of(set, options_.is_validation);
    for (const Bucket& bucket : part.buckets) {
      sizes.push_back({bucket.resolution.width, bucket.resolution.height, static_cast<double>(bucket.pictures.size())});
      samples += sizes.back().share;
    }
  }
  for (PictureShare& size : sizes) size.share /= samples;
  return sizes;
}

}  // namespace millrace
