#include "data/picture_decoder.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "data/json_sidecar.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxPictureBytes = uint64_t{512} << 20;
constexpr uint64_t kMaxTextBytes = 1 << 20;
constexpr size_t kMaxKeptBytes = 64 << 20;  // kept by a thread between pictures

std::string read_caption(const SampleShard& shard, size_t sample, const std::string& name) {
  std::string text;
  if (shard.field_size(sample, SampleField::kCaption)) {
    std::string scratch;
    const auto bytes = shard.view(sample, SampleField::kCaption, kMaxTextBytes, kMaxTextBytes, scratch);
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else if (shard.field_size(sample, SampleField::kJson)) {
    const auto caption = sidecar_member(shard, sample, "caption");
    if (!caption || !caption->is_string()) {
      throw DataError("[" + name + "] expected a txt or a json with a \"caption\", got a json without");
    }
    text = caption->get<std::string>();
    if (text.size() > kMaxTextBytes) {
      throw DataError("[" + name + "] expected a caption of at most " + human_bytes(kMaxTextBytes) + ", got " +
                      human_bytes(text.size()));
    }
  } else {
    throw DataError("[" + name + "] expected a caption (txt, or json with \"caption\"), got none");
  }
  if (!is_valid_utf8(text)) throw DataError("[" + name + "] expected a caption in UTF-8, got other bytes");
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

// Reads increasing parts of the picture until its header is complete.
ImageInfo read_picture_header(const SampleShard& shard, size_t sample, const std::string& name) {
  std::string scratch;
  for (uint64_t wanted : {uint64_t{4} << 10, uint64_t{64} << 10, kMaxPictureBytes}) {
    const auto bytes = shard.view(sample, SampleField::kPicture, wanted, kMaxPictureBytes, scratch);
    const std::optional<ImageInfo> info = probe_image(bytes, name, bytes.size() < wanted);
    if (info) return *info;
  }
  throw DataError("[" + name + "] expected a picture, got a header without end");
}

}  // namespace

PictureDecoder::PictureDecoder(const PictureDecoderOptions& options)
    : options_(options), fields_{{{3, options.transform.size, options.transform.size}, torch::kFloat32}} {
  if (options.transform.size < 1) {
    throw ConfigError("[data loader] expected a picture size of at least 1, got " +
                      std::to_string(options.transform.size));
  }
}

CheckedSample PictureDecoder::check(const SampleShard& shard, size_t sample) const {
  const std::string name = shard.describe(sample);
  CheckedSample result;
  try {
    shard.check_usable(sample);
    if (!shard.field_size(sample, SampleField::kPicture)) {
      throw DataError("[" + name + "] expected a picture (jpg, png or webp), got none");
    }
    result.caption = read_caption(shard, sample, name);
    result.timestep = read_timestep(shard, sample, options_.timesteps);
    const ImageInfo info = read_picture_header(shard, sample, name);
    check_pixel_count(info, name, options_.transform.decode);
    if (options_.skip_small && std::min(info.width, info.height) < options_.transform.size) {
      result.verdict = CheckedSample::Verdict::kSmall;
    }
  } catch (const DataError& error) {
    result.verdict = CheckedSample::Verdict::kBad;
    result.problem = error.what();
  }
  return result;
}

DecodeOutcome PictureDecoder::decode(const SampleShard& shard, size_t sample, uint32_t epoch,
                                     std::span<void* const> out) const {
  thread_local std::string bytes;
  thread_local TransformScratch scratch;
  DecodeOutcome outcome;
  try {
    const auto picture = shard.view(sample, SampleField::kPicture, kMaxPictureBytes, kMaxPictureBytes, bytes);
    load_square(picture, shard.describe(sample), options_.transform,
                random_stream(options_.seed, RandomPurpose::kAugmentation, epoch, shard.sample_id(sample)), scratch);
    image_to_planes(scratch.square, static_cast<float*>(out[0]));
    outcome.truncated = scratch.decoded.truncated;
    // One giant picture must not keep its memory allocated for the rest of the run.
    if (scratch.decoded.image.pixels.capacity() > kMaxKeptBytes) scratch = {};
    if (bytes.capacity() > kMaxKeptBytes) std::string().swap(bytes);
  } catch (const DataError& error) {
    outcome.problem = error.what();
  } catch (const std::bad_alloc&) {
    outcome.problem = "[" + shard.describe(sample) + "] expected a picture that fits in memory, got one that does not";
  }
  return outcome;
}

}  // namespace millrace
