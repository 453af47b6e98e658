// The contents of a FLUX microbatch, whether its pictures and captions are encoded on the fly or were pre-encoded.
//
// Letters: B this rank's samples, Z channels of the latent, h and w its rows and columns, T text tokens, X and V widths
// of the text encodings.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "data/encoding_decoder.h"
#include "data/picture_decoder.h"
#include "data/sample_loader.h"
#include "diffusion/flux_front_end.h"

namespace millrace {

// B is at least 1: a rank without samples gets an uncounted dummy, since all ranks run the model equally often.
struct FluxBatch {
  torch::Tensor latent_BZhw;  // scaled, fp32
  torch::Tensor txt_BTX;      // T5, of the model's dtype or bfloat16
  torch::Tensor y_BV;         // CLIP
  std::vector<uint64_t> sample_ids;
  std::vector<uint32_t> epochs;
  std::vector<int64_t> timesteps;  // of validation; -1: none
  std::vector<int64_t> rows;       // row in the batch over all ranks
  int64_t num_samples = 0;         // how many of the B are counted
  int64_t global_rows = 0;         // over all ranks
  uint64_t digest = 0;             // of the samples, see data/sample_digest.h
  double data_seconds = 0;         // spent waiting for the loader
  bool end_of_data = false;        // nothing else is set
};

struct FluxBatchesOptions {
  SampleLoaderOptions loader;
  std::optional<EncodingShapes> shapes;  // of encoded data
  PictureDecoderOptions pictures;        // of other data
  TimestepUse timesteps = TimestepUse::kUnused;
  uint64_t seed = 0;
  double prompt_dropout = 0;  // probability that a sample gets the empty prompt's encodings, of both encoders
  torch::Device device = torch::kCPU;
};

// Of pictures or of encodings.
std::unique_ptr<const SampleDecoder> make_decoder(const FluxBatchesOptions& options);

class FluxBatches {
 public:
  // front_end must outlive the batches.
  FluxBatches(const FluxBatchesOptions& options, FluxFrontEnd& front_end);

  FluxBatch next();
  SampleLoader& loader() { return loader_; }

 private:
  void encode_pictures(const SampleBatch& samples, FluxBatch& batch);
  void take_encodings(const SampleBatch& samples, FluxBatch& batch);
  std::vector<int64_t> dropped_rows(const FluxBatch& batch) const;

  FluxBatchesOptions options_;
  FluxFrontEnd& front_end_;
  SampleLoader loader_;
};

}  // namespace millrace
