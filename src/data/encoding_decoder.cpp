#include "data/encoding_decoder.h"

#include <array>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "formats/npy.h"
#include "formats/safetensors.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 30;
constexpr size_t kFields = 4;
constexpr std::array<SampleField, kFields> kInOrder = {SampleField::kT5, SampleField::kClip, SampleField::kMean,
                                                       SampleField::kLogvar};
constexpr std::array<const char*, kFields> kNames = {"t5_encodings", "clip_encodings", "mean", "logvar"};

std::string place_of(const SampleShard& shard, size_t sample, size_t field) {
  return shard.describe(sample) + ", " + kNames[field];
}

uint64_t payload_bytes(const BatchField& field) {
  uint64_t bytes = 2;
  for (const int64_t size : field.sizes) bytes *= static_cast<uint64_t>(size);
  return bytes;
}

// Throws DataError if it is missing or not an array of bfloat16 bits.
NpyArray read_array(const SampleShard& shard, size_t sample, size_t field, std::string& scratch) {
  const std::string place = place_of(shard, sample, field);
  if (!shard.field_size(sample, kInOrder[field])) {
    throw DataError("[" + place +
                    "] expected an encoding, got none (try training.dataset = \"webdataset\" for a set "
                    "of pictures)");
  }
  NpyArray array = parse_npy(shard.view(sample, kInOrder[field], kMaxBytes, kMaxBytes, scratch), place);
  if (array.dtype != DType::kU16 && array.dtype != DType::kBF16) {
    throw DataError("[" + place + "] expected uint16 (the bits of bfloat16), got " +
                    std::string(dtype_name(array.dtype)));
  }
  return array;
}

}  // namespace

EncodingShapes probe_encodings(const std::vector<ShardFile>& shards) {
  for (const ShardFile& file : shards) {
    const auto shard = open_shard(file);
    if (shard->size() == 0 || shard->is_damage(0)) continue;
    std::array<std::vector<int64_t>, kFields> shapes;
    std::string scratch;
    for (size_t field = 0; field < kFields; ++field) {
      constexpr std::array<size_t, kFields> kDims = {2, 1, 3, 3};
      shapes[field] = read_array(*shard, 0, field, scratch).shape;
      if (shapes[field].size() != kDims[field]) {
        throw DataError(str("[", place_of(*shard, 0, field), "] expected ", kDims[field], " dimensions, got ",
                            shape_text(shapes[field])));
      }
    }
    if (shapes[3] != shapes[2]) {
      throw DataError("[" + place_of(*shard, 0, 3) + "] expected the shape of mean, " + shape_text(shapes[2]) +
                      ", got " + shape_text(shapes[3]));
    }
    return {shapes[0][0], shapes[0][1], shapes[1][0], shapes[2][0], shapes[2][1], shapes[2][2]};
  }
  throw DataError("[" + (shards.empty() ? std::string("data set") : shards.front().path.string()) +
                  "] expected encoded samples, got none");
}

std::string describe(const EncodingShapes& shapes) {
  return str("T5 [", shapes.num_tokens, ", ", shapes.token_width, "], CLIP [", shapes.pooled_width, "], latent [",
             shapes.latent_channels, ", ", shapes.latent_rows, ", ", shapes.latent_columns, "]");
}

EncodingDecoder::EncodingDecoder(const EncodingShapes& shapes, TimestepUse timesteps) : timesteps_(timesteps) {
  const std::vector<int64_t> latent = {shapes.latent_channels, shapes.latent_rows, shapes.latent_columns};
  for (std::vector<int64_t> sizes :
       {std::vector{shapes.num_tokens, shapes.token_width}, std::vector{shapes.pooled_width}, latent, latent}) {
    fields_.push_back({std::move(sizes), torch::kBFloat16});
  }
}

CheckedSample EncodingDecoder::check(const SampleShard& shard, size_t sample) const {
  CheckedSample result;
  try {
    shard.check_usable(sample);
    for (size_t field = 0; field < kFields; ++field) {
      const std::optional<uint64_t> size = shard.field_size(sample, kInOrder[field]);
      const uint64_t payload = payload_bytes(fields_[field]);
      if (!size) throw DataError("[" + place_of(shard, sample, field) + "] expected an encoding, got none");
      if (*size <= payload || *size > payload + kMaxNpyHeaderBytes) {
        throw DataError(str("[", place_of(shard, sample, field), "] expected a .npy of shape ",
                            shape_text(fields_[field].sizes), " (", payload, " bytes and a header), got ", *size,
                            " bytes"));
      }
    }
    result.timestep = read_timestep(shard, sample, timesteps_);
  } catch (const DataError& error) {
    result.verdict = CheckedSample::Verdict::kBad;
    result.problem = error.what();
  }
  return result;
}

DecodeOutcome EncodingDecoder::decode(const SampleShard& shard, size_t sample, uint32_t,
                                      std::span<void* const> out) const {
  thread_local std::string scratch;
  DecodeOutcome outcome;
  try {
    for (size_t field = 0; field < kFields; ++field) {
      const NpyArray array = read_array(shard, sample, field, scratch);
      if (array.shape != fields_[field].sizes) {
        throw DataError("[" + place_of(shard, sample, field) + "] expected shape " + shape_text(fields_[field].sizes) +
                        ", got " + shape_text(array.shape));
      }
      std::memcpy(out[field], array.bytes.data(), array.bytes.size());
    }
  } catch (const DataError& error) {
    outcome.problem = error.what();
  }
  return outcome;
}

}  // namespace millrace
