#include "diffusion/flux_batches.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "data/sample_digest.h"
#include "diffusion/flow_matching.h"

namespace millrace {
namespace {

// A batch's field on the device: on a CPU the field itself; a copy to a GPU is asynchronous, from the pinned
// memory that the loader's threads have filled.
torch::Tensor on_device(const torch::Tensor& field, torch::Device device) {
  return device.is_cpu() ? field : field.pin_memory().to(device, field.scalar_type(), /*non_blocking=*/true);
}

// A dummy row of zeros for a rank without samples.
void add_stand_in(SampleBatch& samples) {
  for (torch::Tensor& field : samples.fields) {
    std::vector<int64_t> sizes = field.sizes().vec();
    sizes[0] = 1;
    field = torch::zeros(sizes, field.options());
  }
  samples.captions = {""};
  samples.keys = {""};
  samples.sample_ids = {0};
  samples.epochs = {0};
  samples.timesteps = {-1};
  samples.rows = {0};
}

}  // namespace

std::unique_ptr<const SampleDecoder> make_decoder(const FluxBatchesOptions& options) {
  if (options.shapes) return std::make_unique<EncodingDecoder>(*options.shapes, options.timesteps);
  PictureDecoderOptions pictures = options.pictures;
  pictures.timesteps = options.timesteps;
  pictures.seed = options.seed;
  return std::make_unique<PictureDecoder>(pictures);
}

namespace {

SampleLoaderOptions loader_options(const FluxBatchesOptions& options) {
  SampleLoaderOptions loader = options.loader;
  loader.pinned = options.device.is_cuda();
  return loader;
}

}  // namespace

FluxBatches::FluxBatches(const FluxBatchesOptions& options, FluxFrontEnd& front_end)
    : options_(options), front_end_(front_end), loader_(loader_options(options), make_decoder(options)) {}

FluxBatch FluxBatches::next() {
  FluxBatch batch;
  const double begin = now_seconds();
  SampleBatch samples = loader_.next();
  batch.data_seconds = now_seconds() - begin;
  batch.end_of_data = samples.end_of_data;
  if (batch.end_of_data) return batch;
  batch.num_samples = static_cast<int64_t>(samples.sample_ids.size());
  batch.global_rows = samples.global_rows;
  batch.digest = sample_digest(samples.epochs, samples.sample_ids);
  if (batch.num_samples == 0) add_stand_in(samples);
  batch.sample_ids = samples.sample_ids;
  batch.epochs = samples.epochs;
  batch.timesteps = samples.timesteps;
  batch.rows = samples.rows;
  if (options_.shapes) {
    take_encodings(samples, batch);
  } else {
    encode_pictures(samples, batch);
  }
  return batch;
}

std::vector<PictureShare> FluxBatches::sizes() const {
  return {{options_.pictures.transform.size, options_.pictures.transform.size, 1}};
}

std::string FluxBatches::describe() const {
  const int side = options_.pictures.transform.size;
  return str(options_.name, options_.shapes ? " (encoded beforehand)" : "", ", ", side, " x ", side, " pixels");
}

std::vector<int64_t> FluxBatches::dropped_rows(const FluxBatch& batch) const {
  std::vector<int64_t> dropped;
  const auto streams = sample_streams(options_.seed, RandomPurpose::kPromptDropout, batch.epochs, batch.sample_ids);
  for (size_t row = 0; row < streams.size(); ++row) {
    if (random_uniform(streams[row], 0) < options_.prompt_dropout) dropped.push_back(static_cast<int64_t>(row));
  }
  return dropped;
}

void FluxBatches::encode_pictures(const SampleBatch& samples, FluxBatch& batch) {
  std::vector<std::string> captions = samples.captions;
  for (const int64_t row : dropped_rows(batch)) captions[static_cast<size_t>(row)].clear();
  batch.latent_BZhw = front_end_.codec->encode(
      on_device(samples.fields[0], options_.device),
      sample_streams(options_.seed, RandomPurpose::kPosterior, batch.epochs, batch.sample_ids));
  encode_captions(front_end_.encoders, std::move(captions), options_.for_training, batch);
}

void FluxBatches::take_encodings(const SampleBatch& samples, FluxBatch& batch) {
  const auto field = [&](size_t index) { return on_device(samples.fields[index], options_.device); };
  // A copy: the loader's memory is reused for a later batch.
  const auto bf16_copy = [&](size_t index) {
    return field(index).to(torch::kBFloat16, /*non_blocking=*/false, /*copy=*/options_.device.is_cpu());
  };
  batch.latent_BZhw = sample_posterior(
      field(2), field(3), sample_streams(options_.seed, RandomPurpose::kPosterior, batch.epochs, batch.sample_ids),
      front_end_.latent_shift, front_end_.latent_scale);
  batch.txt_BTX = bf16_copy(0);
  batch.y_BV = bf16_copy(1);
  for (const int64_t row : dropped_rows(batch)) {
    MILLRACE_CHECK(front_end_.empty_TX.defined() && front_end_.empty_V.defined());
    batch.txt_BTX[row].copy_(front_end_.empty_TX);
    batch.y_BV[row].copy_(front_end_.empty_V);
  }
}

}  // namespace millrace
