// Pictures with captions: field 0 is the picture, float32 [3, size, size] in -1..1.
#pragma once

#include "data/sample_decoder.h"
#include "images/transform.h"

namespace millrace {

struct PictureDecoderOptions {
  SquareTransform transform;
  bool skip_small = true;  // skip pictures with a side below transform.size; false: scale them up
  TimestepUse timesteps = TimestepUse::kUnused;
  uint64_t seed = 0;  // for the position of the random crop
};

class PictureDecoder : public SampleDecoder {
 public:
  explicit PictureDecoder(const PictureDecoderOptions& options);

  const std::vector<BatchField>& fields() const override { return fields_; }
  // Reads the caption and enough of the picture to know its size.
  CheckedSample check(const SampleShard& shard, size_t sample) const override;
  DecodeOutcome decode(const SampleShard& shard, size_t sample, uint32_t epoch,
                       std::span<void* const> out) const override;

 private:
  PictureDecoderOptions options_;
  std::vector<BatchField> fields_;
};

}  // namespace millrace
