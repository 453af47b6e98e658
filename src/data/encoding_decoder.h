// Pre-encoded samples (from `millrace prepare encode` or the MLPerf reference's preprocessing): T5's hidden states,
// CLIP's pooled output, and mean and log-variance of the autoencoder's posterior, unscaled.
//
// Each is a .npy file in a cell: uint16, the bits of bfloat16.
#pragma once

#include "data/sample_decoder.h"

namespace millrace {

struct EncodingShapes {
  int64_t num_tokens = 0;       // T5
  int64_t token_width = 0;      // width of one token's encoding
  int64_t pooled_width = 0;     // CLIP
  int64_t latent_channels = 0;  // of mean, and of logvar
  int64_t latent_rows = 0, latent_columns = 0;

  bool operator==(const EncodingShapes&) const = default;
};

// The shapes of the data set's first sample. Throws DataError naming a field that is missing or malformed.
EncodingShapes probe_encodings(const std::vector<ShardFile>& shards);
std::string describe(const EncodingShapes& shapes);

// Field 0: t5 [tokens, width], 1: clip [width], 2: mean and 3: logvar [channels, rows, columns]; all bfloat16. A sample
// with other shapes counts as bad.
class EncodingDecoder : public SampleDecoder {
 public:
  EncodingDecoder(const EncodingShapes& shapes, TimestepUse timesteps);

  const std::vector<BatchField>& fields() const override { return fields_; }
  // Checks sizes only: every rank checks every sample, while each sample's encodings are read by one rank.
  CheckedSample check(const SampleShard& shard, size_t sample) const override;
  DecodeOutcome decode(const SampleShard& shard, size_t sample, uint32_t epoch,
                       std::span<void* const> out) const override;

 private:
  TimestepUse timesteps_;
  std::vector<BatchField> fields_;
};

}  // namespace millrace
