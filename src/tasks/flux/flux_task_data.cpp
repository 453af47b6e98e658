#include "tasks/flux/flux_task_data.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/shard_cache.h"
#include "diffusion/base_adapters.h"
#include "diffusion/dataset_survey.h"
#include "diffusion/encoder_identity.h"
#include "diffusion/picture_facts.h"
#include "parallel/configured_placement.h"
#include "picture_sets/notices.h"
#include "picture_sets/trained_caption.h"
#include "tokenizers/tokenizer.h"
#include "train/run_steps.h"

namespace millrace {
namespace {

// T5 reads so many tokens of a caption: what is beyond is not trained.
void warn_of_long_captions(const PictureData& data, const EncoderConfig& encoder) {
  constexpr size_t kMost = 100'000;  // of larger sets the first: a few seconds
  if (encoder.t5_encoder.empty() || encoder.t5_encoder == kRandomNetwork) return;
  const std::shared_ptr<Tokenizer> tokenizer =
      load_tokenizer(encoder.t5_tokenizer.empty() ? encoder.t5_encoder : encoder.t5_tokenizer, TokenizerKind::kT5);
  const int64_t most = encoder.max_t5_encoding_len;
  Notices notices;
  size_t seen = 0;
  for (const PictureSet& set : data.sets) {
    for (const Picture& picture : set.train.pictures) {
      if (++seen > kMost) break;
      if (std::ssize(tokenizer->encode_truncated(picture.file.caption, most + 1)) <= most) continue;
      notices.add("long_caption",
                  str("expected captions of at most ", most,
                      " tokens of T5, got longer ones: the rest of each is left out (encoder.max_t5_encoding_len)"),
                  picture.file.key);
    }
  }
  for (const Notice& notice : notices.all()) log_warning(notice_text(notice));
}

// What cannot lie in sd-scripts' files beside the pictures.
void check_npz(const FluxRunConfig& config) {
  const EncoderConfig& encoder = config.encoder;
  const bool latents = encoder.cache_latents == EncodingCache::kNpz,
             encodings = encoder.cache_encodings == EncodingCache::kNpz;
  const auto refuse = [&](bool is_wrong, const char* key, const char* expected, const std::string& got) {
    if (is_wrong) throw ConfigError(str("[encoder.", key, "] expected ", expected, ", got ", got));
  };
  const char* const first = latents ? "cache_latents" : "cache_encodings";
  refuse((latents || encodings) && encoder.kohya_caches != KohyaCaches::kNone, "kohya_caches",
         "none with cache_latents or cache_encodings = \"npz\", which read and write the same files",
         choice_text(encoder.kohya_caches));
  refuse((latents || encodings) && encoder.cache_variants > 0, first,
         "memory or disk with encoder.cache_variants, since sd-scripts' files have one variant", "npz");
  const bool has_random = encoder.t5_encoder == kRandomNetwork || encoder.clip_encoder == kRandomNetwork;
  refuse(encodings && has_random, "cache_encodings", "T5 and CLIP from their files with npz", "random ones");
}

}  // namespace

FluxTaskData::FluxTaskData(FluxRunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose)
    : config_(config), mesh_(mesh), device_(device), seed_(static_cast<uint64_t>(config.training.seed.value_or(0))) {
  if (purpose == TaskPurpose::kTrain) training_ = training_dataset(config_, mesh_, device_);
  if (config_.validation.enable) {
    validation_ = validation_dataset(config_, training_ ? &*training_ : nullptr, mesh_, device_);
    if (!config_.validation_pictures.all_timesteps && !validation_->pictures)
      validation_timesteps_ = validation_->kind->needs_timesteps ? TimestepUse::kRequired : TimestepUse::kIfThere;
  }
  choose_caches(config);
  const bool wastes = training_ && training_->pictures && !config_.validation.enable &&
                      training_->pictures->num_validation_pictures() > 0;
  if (wastes) {
    log_warning("[", printable(training_->name),
                "] expected validation.enable with a validation_split, which holds back ",
                training_->pictures->num_validation_pictures(),
                " pictures that nothing is validated on, got none (try validation.enable = true)");
  }
}

// Keeps what the same sample needs again and again.
void FluxTaskData::choose_caches(FluxRunConfig& config) const {
  const FluxDataset* data = training_ ? &*training_ : validation_ ? &*validation_ : nullptr;
  const PictureData* pictures = data != nullptr ? data->pictures.get() : nullptr;
  const auto choose = [](EncodingCache& cache, bool suits) {
    if (cache == EncodingCache::kAuto) cache = suits ? EncodingCache::kMemory : EncodingCache::kNone;
  };
  const bool has_codec = config.encoder.autoencoder_path != "none";
  const bool comes_again = config.encoder.cache_variants > 0;
  const bool changes = pictures != nullptr && pictures->changes_pictures() && !comes_again;
  choose(config.encoder.cache_encodings, pictures != nullptr && (!pictures->has_many_captions() || comes_again));
  choose(config.encoder.cache_latents, pictures != nullptr && has_codec && !changes);
  check_npz(config);
  const bool uses_kohyas = config.encoder.kohya_caches != KohyaCaches::kNone;
  // A run on pictures may be evaluated on shards.
  const bool lacks_cache =
      pictures == nullptr ? !config.trains_on_pictures() : config.encoder.cache_latents == EncodingCache::kNone;
  if (uses_kohyas && lacks_cache) {
    throw ConfigError(
        str("[encoder.kohya_caches] expected none without encoder.cache_latents on a data set of pictures, got ",
            choice_text(config.encoder.kohya_caches)));
  }
  if (config.encoder.kohya_caches == KohyaCaches::kWrite && config.encoder.t5_encoder == kRandomNetwork) {
    throw ConfigError("[encoder.kohya_caches] expected none or read with random encoders, got write");
  }
  if (config.encoder.cache_latents == EncodingCache::kNone) return;
  const char* const kept = choice_text(config.encoder.cache_latents);
  if (changes) {
    throw ConfigError(
        str("[encoder.cache_latents] expected none with random_crop, color_aug or a face_crop_aug_range, which make "
            "another picture each time, got ",
            kept, " (try encoder.cache_variants = 4)"));
  }
  if (!has_codec) throw ConfigError(str("[encoder.cache_latents] expected none without an autoencoder, got ", kept));
}

const EncodingShapes* FluxTaskData::shapes() const {
  if (training_ && training_->shapes) return &*training_->shapes;
  return validation_ && validation_->shapes ? &*validation_->shapes : nullptr;
}

bool FluxTaskData::needs_networks() const {
  if (training_ && !training_->shapes) return true;
  if (validation_ && !validation_->shapes) return true;
  return shapes() == nullptr;  // nothing else says what the model takes
}

int64_t FluxTaskData::downscale(const FluxFrontEnd& front_end) const {
  return front_end.codec ? front_end.codec->downscale() : config_.training_pictures.img_size / shapes()->latent_rows;
}

void FluxTaskData::check(const FluxFrontEnd& front_end, const flux::FluxConfig& sizes) {
  for (const auto& data : {training_, validation_}) {
    if (data && data->shapes) {
      check_encodings(*data, config_, sizes, front_end.codec ? front_end.codec->downscale() : 0);
    }
  }
  check_encoded_by_the_same();
  if (validation_ && !validation_->pictures && !validation_->kind->is_synthetic) check_validation_data();
  const int64_t unit = downscale(front_end) * patch_size(config_);
  if (config_.training_pictures.img_size % unit != 0) {
    throw ConfigError(str("[training.img_size] expected a multiple of ", unit, " (patch_size x the autoencoder's ",
                          downscale(front_end), "), got ", config_.training_pictures.img_size));
  }
  check_picture_sizes(unit);
}

void FluxTaskData::check_picture_sizes(int64_t unit) const {
  for (const auto& data : {training_, validation_}) {
    if (!data || !data->pictures) continue;
    for (const PictureSet& set : data->pictures->sets) {
      for (const PicturePart* part : {&set.train, &set.validation}) {
        for (const Bucket& bucket : part->buckets) {
          const PictureSize& size = bucket.resolution;
          if (size.width % unit == 0 && size.height % unit == 0) continue;
          throw ConfigError(str("[", set.options.place, "] expected sizes of multiples of ", unit,
                                " pixels, one image token, got ", size_text(size),
                                " (see resolution and "
                                "bucket_reso_steps)"));
        }
      }
    }
  }
}

// Training and validation data, and the empty prompt that takes the place of captions.
void FluxTaskData::check_encoded_by_the_same() const {
  if (!training_ || !training_->shapes) return;
  std::set<std::filesystem::path> folders;
  for (const auto& data : {training_, validation_}) {
    if (!data || !data->shapes) continue;
    for (const ShardFile& file : data->shards) folders.insert(file.path.parent_path());
  }
  const std::string& empty = config_.encoder.empty_encodings_path;
  if (!empty.empty() && config_.training_pictures.classifier_free_guidance_prob > 0) folders.insert(empty);
  check_encoded_alike({folders.begin(), folders.end()});
}

// At the start rather than at the first validation, which may be hours later.
void FluxTaskData::check_validation_data() {
  ShardCache cache(validation_->shards);
  check_files_are_whole(survey_dataset(cache, mesh_.world(), device_), validation_->shards,
                        validation_->kind->subset_size,
                        "downloading it again: the loss would be that of some of the samples");
  if (config_.validation_pictures.all_timesteps) return;
  if (validation_->kind->needs_timesteps) {
    check_first_timestep(cache, *make_decoder(validation_shards()));
  } else if (has_timesteps(cache)) {
    validation_timesteps_ = TimestepUse::kRequired;  // one that cannot be read is then a sample's fault, not the set's
  }
}

// Batches

FluxBatchesOptions FluxTaskData::shard_options(const FluxDataset& data) const {
  FluxBatchesOptions options;
  options.loader.shards = data.shards;
  options.loader.subset_size = data.kind->subset_size;
  options.loader.rank = mesh_.data_rank();
  options.loader.world_size = mesh_.data_size();
  options.loader.seed = seed_;
  options.loader.bad_samples.max_fraction = config_.training.max_bad_samples;
  options.loader.num_workers = static_cast<int>(config_.training.num_workers);
  options.shapes = data.shapes;
  options.pictures.transform.size = static_cast<int>(config_.training_pictures.img_size);
  options.pictures.skip_small = !data.kind->needs_timesteps;  // as the reference, which counts on every one of COCO's
  options.name = data.name;
  options.seed = seed_;
  options.device = device_;
  return options;
}

FluxBatchesOptions FluxTaskData::validation_shards() const {
  FluxBatchesOptions options = shard_options(*validation_);
  options.loader.batch_size = config_.validation.local_batch_size * mesh_.data_size();
  options.loader.shuffle = false;
  options.loader.epochs = 1;
  options.loader.allow_damaged_shards = false;  // the loss would be that of some of the samples
  options.timesteps = validation_timesteps_;
  return options;
}

PictureSetBatchesOptions FluxTaskData::picture_options(const FluxDataset& data) {
  PictureSetBatchesOptions options;
  options.data = data.pictures;
  options.seed = seed_;
  options.rank = mesh_.data_rank();
  options.num_ranks = mesh_.data_size();
  options.num_workers = config_.training.num_workers;
  options.max_bad_fraction = config_.training.max_bad_samples;
  options.device = device_;
  options.variants = config_.encoder.cache_variants;
  options.cache = latent_cache();
  options.kohya_caches = kohya_caches();
  return options;
}

std::shared_ptr<LatentCache> FluxTaskData::latent_cache() {
  const EncoderConfig& encoder = config_.encoder;
  if (encoder.cache_latents == EncodingCache::kNone || cache_) return cache_;
  LatentCacheOptions options;
  if (encoder.cache_latents == EncodingCache::kDisk) options.folder = cache_folder(config_, "latents");
  options.identity = autoencoder_identity();
  cache_ = std::make_shared<LatentCache>(options);
  return cache_;
}

std::string FluxTaskData::autoencoder_identity() const {
  EncoderConfig autoencoder;
  autoencoder.autoencoder_path = config_.encoder.autoencoder_path;
  const bool is_random = autoencoder.autoencoder_path == kRandomNetwork;
  return (is_random ? std::string(kRandomNetwork) : encoder_identity(autoencoder).dump()) + " " +
         c10::toString(autoencoder_dtype(compute_dtype(config_, device_), device_));
}

std::shared_ptr<KohyaPictureCaches> FluxTaskData::kohya_caches() {
  const EncoderConfig& encoder = config_.encoder;
  const auto use_of = [&](EncodingCache cache) {
    if (cache == EncodingCache::kNpz) return KohyaCacheUse::kReadsAndWrites;
    if (encoder.kohya_caches == KohyaCaches::kRead) return KohyaCacheUse::kReads;
    return encoder.kohya_caches == KohyaCaches::kWrite ? KohyaCacheUse::kWrites : KohyaCacheUse::kNone;
  };
  KohyaPictureCachesOptions options;
  options.latents = use_of(encoder.cache_latents);
  if (!config_.trains_clip_l() || !config_.trains_t5xxl()) options.text = use_of(encoder.cache_encodings);
  if (options.latents == KohyaCacheUse::kNone && options.text == KohyaCacheUse::kNone) return nullptr;
  if (kohya_caches_) return kohya_caches_;
  options.masks_padding = encoder.apply_t5_attn_mask;
  if (options.latents != KohyaCacheUse::kNone) {
    const auto text_of = [](const std::optional<double>& value) {
      return value ? format_double("%.17g", *value) : "own";
    };
    options.latents_identity = str(autoencoder_identity(), ", scale ", text_of(encoder.autoencoder_scale), ", shift ",
                                   text_of(encoder.autoencoder_shift));
  }
  if (options.text != KohyaCacheUse::kNone) {
    EncoderConfig text = encoder;
    text.autoencoder_path.clear();
    options.text_identity = encoder_identity(text).dump() + " " + c10::toString(compute_dtype(config_, device_));
    // What is merged into the encoders changes what they say of a caption.
    if (const LoraConfig* lora = config_.lora(); lora != nullptr && !lora->base_weights.empty()) {
      options.text_identity += " " + base_weights_identity(*lora);
    }
  }
  if (writes(options.text)) {
    const std::shared_ptr<Tokenizer> tokenizer =
        load_tokenizer(encoder.t5_tokenizer.empty() ? encoder.t5_encoder : encoder.t5_tokenizer, TokenizerKind::kT5);
    options.count_tokens = [tokenizer, most = encoder.max_t5_encoding_len](const std::string& caption) {
      return static_cast<int64_t>(tokenizer->encode_truncated(caption, most).size());
    };
  }
  kohya_caches_ = std::make_shared<KohyaPictureCaches>(std::move(options));
  return kohya_caches_;
}

std::unique_ptr<FluxBatchSource> FluxTaskData::training_batches(FluxFrontEnd& front_end) {
  if (!training_) return nullptr;
  const TrainingConfig& training = config_.training;
  if (training_->pictures) {
    PictureSetBatchesOptions options = picture_options(*training_);
    options.batches_per_step = microbatches_per_step(training, mesh_.data_size());
    options.max_steps = training.steps;
    if (mesh_.world().rank() == 0) warn_of_long_captions(*training_->pictures, config_.encoder);
    return std::make_unique<PictureSetBatches>(options, front_end);
  }
  FluxBatchesOptions options = shard_options(*training_);
  if (training.subset_size) options.loader.subset_size = *training.subset_size;
  options.loader.batch_size = training.local_batch_size * mesh_.data_size();
  options.loader.shuffle = training.shuffle_buffer_size > 0;
  options.loader.shuffle_buffer_size = std::max<int64_t>(training.shuffle_buffer_size, 1);
  options.for_training = true;
  options.prompt_dropout = config_.training_pictures.classifier_free_guidance_prob;
  return std::make_unique<FluxBatches>(options, front_end);
}

std::unique_ptr<FluxBatchSource> FluxTaskData::validation_batches(FluxFrontEnd& front_end) {
  if (!validation_) return nullptr;
  if (!validation_->pictures) return std::make_unique<FluxBatches>(validation_shards(), front_end);
  PictureSetBatchesOptions options = picture_options(*validation_);
  options.is_validation = true;
  options.validation_batch_size = config_.validation.local_batch_size * mesh_.data_size();
  return std::make_unique<PictureSetBatches>(options, front_end);
}

FluxValidationOptions FluxTaskData::validation_options() const {
  FluxValidationOptions options;
  options.max_batches = config_.validation.steps;
  options.all_timesteps = config_.validation_pictures.all_timesteps;
  options.needs_timesteps = validation_->kind->needs_timesteps;
  options.data_name = validation_->name;
  return options;
}

int64_t FluxTaskData::steps_per_epoch() const {
  if (!training_ || !training_->pictures) return 0;
  int64_t batches = 0;
  for (const PictureSet& set : training_->pictures->sets) batches += set.train.num_batches(set.options.batch_size);
  const int64_t per_step = microbatches_per_step(config_.training, mesh_.data_size());
  return (batches + per_step - 1) / per_step;
}

TrainingFacts FluxTaskData::facts() const {
  if (!training_ || !training_->pictures) return {};
  const LoraConfig* lora = config_.lora();
  // sd-scripts writes this fact only when it is run without a data set file.
  const bool has_no_file =
      lora != nullptr && std::any_of(lora->metadata.begin(), lora->metadata.end(),
                                     [](const auto& text) { return starts_with(text, "ss_total_batch_size="); });
  TrainingFacts facts = picture_facts(*training_->pictures,
                                      {.batches_per_step = microbatches_per_step(config_.training, mesh_.data_size()),
                                       .max_steps = config_.training.steps,
                                       .has_no_file = has_no_file});
  facts["cache_latents"] = config_.encoder.cache_latents != EncodingCache::kNone;
  if (config_.validation_pictures.split > 0) facts["validation_split"] = config_.validation_pictures.split;
  facts["prior_loss_weight"] = config_.training_pictures.prior_loss_weight;
  return facts;
}

std::vector<std::string> FluxTaskData::validation_captions(int64_t most) const {
  std::vector<std::string> captions;
  const auto lacks = [&] { return static_cast<int64_t>(captions.size()) < most; };
  if (validation_->pictures) {
    for (const PictureSet& set : validation_->pictures->sets) {
      for (const Picture& picture : set.validation.pictures) {
        if (lacks()) captions.push_back(fixed_caption(picture.file.caption, set.options.subsets[picture.subset]));
      }
    }
    return captions;
  }
  FluxBatchesOptions data = validation_shards();
  data.loader.batch_size = 1;  // their pictures are decoded, too, and should not take much memory
  data.loader.rank = 0;
  data.loader.world_size = 1;
  data.loader.prefetch_batches = 0;
  SampleLoader loader(data.loader, make_decoder(data));
  while (lacks()) {
    const SampleBatch sample = loader.next();
    if (sample.end_of_data) break;
    captions.insert(captions.end(), sample.captions.begin(), sample.captions.end());
  }
  return captions;
}

}  // namespace millrace
