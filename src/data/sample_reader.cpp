#include "data/sample_reader.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxPictureBytes = uint64_t{512} << 20;
constexpr uint64_t kMaxTextBytes = 1 << 20;
constexpr size_t kMaxKeptBytes = 64 << 20;  // by a thread between pictures

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string read_caption(const ShardIndex& shard, const SampleEntry& entry, const std::string& name) {
  std::string text;
  if (entry.caption.exists()) {
    shard.read(entry.caption, kMaxTextBytes, kMaxTextBytes, text);
  } else if (entry.json.exists()) {
    shard.read(entry.json, kMaxTextBytes, kMaxTextBytes, text);
    const nlohmann::json json = parse_json<DataError>(text, name);
    const auto caption = json.is_object() ? json.find("caption") : json.end();
    if (caption == json.end() || !caption->is_string()) {
      throw DataError("[" + name + "] expected a txt or a json with a \"caption\", got a json without");
    }
    text = caption->get<std::string>();
  } else {
    throw DataError("[" + name + "] expected a caption (txt, or json with \"caption\"), got none");
  }
  if (!is_valid_utf8(text)) throw DataError("[" + name + "] expected a caption in UTF-8, got other bytes");
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

// Reads more and more of the picture until its header is complete.
ImageInfo read_picture_header(const ShardIndex& shard, const SampleEntry& entry, const std::string& name) {
  std::string bytes;
  for (uint64_t wanted : {uint64_t{4} << 10, uint64_t{64} << 10, kMaxPictureBytes}) {
    shard.read(entry.picture, wanted, kMaxPictureBytes, bytes);
    const std::optional<ImageInfo> info = probe_image(as_bytes(bytes), name, bytes.size() == entry.picture.size);
    if (info) return *info;
  }
  throw DataError("[" + name + "] expected a picture, got a header without end");
}

}  // namespace

CheckedSample check_sample(const ShardIndex& shard, size_t sample, const SquareTransform& transform, bool skip_small) {
  const SampleEntry& entry = shard.samples()[sample];
  const std::string name = shard.describe(sample);
  CheckedSample result;
  try {
    if (shard.is_damage(sample))
      throw DataError("[" + shard.path().string() + "] expected a whole tar file, got " + shard.damage());
    if (!entry.picture.exists()) throw DataError("[" + name + "] expected a picture (jpg, png or webp), got none");
    result.caption = read_caption(shard, entry, name);
    const ImageInfo info = read_picture_header(shard, entry, name);
    check_pixel_count(info, name, transform.decode);
    if (skip_small && std::min(info.width, info.height) < transform.size) {
      result.verdict = CheckedSample::Verdict::kSmall;
    }
  } catch (const DataError& error) {
    result.verdict = CheckedSample::Verdict::kBad;
    result.problem = error.what();
  }
  return result;
}

DecodeOutcome decode_sample(const ShardIndex& shard, size_t sample, uint64_t sample_id, uint32_t epoch, uint64_t seed,
                            const SquareTransform& transform, float* out) {
  thread_local std::string bytes;
  thread_local TransformScratch scratch;
  DecodeOutcome outcome;
  try {
    shard.read(shard.samples()[sample].picture, kMaxPictureBytes, kMaxPictureBytes, bytes);
    load_square(as_bytes(bytes), shard.describe(sample), transform,
                random_stream(seed, RandomPurpose::kAugmentation, epoch, sample_id), scratch);
    image_to_planes(scratch.square, out);
    outcome.truncated = scratch.decoded.truncated;
    // One giant picture must not hold its memory for the rest of the run.
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
