// FLUX microbatches from shards, whether their pictures and captions are encoded on the fly or were pre-encoded.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/encoding_decoder.h"
#include "data/picture_decoder.h"
#include "data/sample_loader.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_front_end.h"

namespace millrace {

struct FluxBatchesOptions {
  SampleLoaderOptions loader;
  std::optional<EncodingShapes> shapes;  // of encoded data
  PictureDecoderOptions pictures;        // of other data
  TimestepUse timesteps = TimestepUse::kUnused;
  uint64_t seed = 0;
  std::string name;           // of the data set, for the log
  bool for_training = false;  // see encode_captions()
  double prompt_dropout = 0;  // probability that a sample gets the empty prompt's encodings, of both encoders
  torch::Device device = torch::kCPU;
};

// Of pictures or of encodings.
std::unique_ptr<const SampleDecoder> make_decoder(const FluxBatchesOptions& options);

class FluxBatches : public FluxBatchSource {
 public:
  // front_end must outlive the batches.
  FluxBatches(const FluxBatchesOptions& options, FluxFrontEnd& front_end);

  FluxBatch next() override;
  std::string position() const override { return loader_.position(); }
  void restore(const std::string& position) override { loader_.restore(position); }
  int64_t batch_size() const override { return options_.loader.batch_size; }
  std::vector<PictureShare> sizes() const override;
  std::string describe() const override;

 private:
  void encode_pictures(const SampleBatch& samples, FluxBatch& batch);
  void take_encodings(const SampleBatch& samples, FluxBatch& batch);
  std::vector<int64_t> dropped_rows(const FluxBatch& batch) const;

  FluxBatchesOptions options_;
  FluxFrontEnd& front_end_;
  SampleLoader loader_;
};

}  // namespace millrace
