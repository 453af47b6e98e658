// Encodes captions on any number of ranks, with the weights of T5 and CLIP sharded or whole, through the cache.
//   encoder_ranks_tool FOLDER OUTPUT SHARD      FOLDER holds t5/ and clip/; SHARD: auto, true or false
// Each rank writes OUTPUT-<rank>.safetensors: t5.<round>, clip.<round>, and the bytes of its part of the weights. Ranks
// differ in how many captions they have, and in which of them are in the cache.
#include <cstdio>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "comm/communicator.h"
#include "diffusion/caption_encoder.h"
#include "models/model_table.h"
#include "nn/tensor_io.h"
#include "parallel/flat_model.h"

namespace millrace {
namespace {

constexpr int64_t kTokens = 24;
constexpr uint64_t kCacheBytes = 1 << 20;

std::vector<std::string> captions_of(int rank, int round) {
  if (round == 2) return captions_of(rank, 0);  // everything is in the cache
  std::vector<std::string> captions(1, "a photo of a cat");
  for (int i = 0; i < rank; ++i) captions.push_back(str("caption ", i, " of rank ", rank));
  // In round 1 rank 0 has nothing new to encode, the others have.
  if (round == 1 && rank > 0) captions.push_back(str("one more for rank ", rank));
  return captions;
}

int64_t own_bytes(const std::filesystem::path& folder, const char* name, Mesh* mesh) {
  const auto module = ModelWeights(find_model(name), folder)
                          .load(FlatParametersOptions{.compute_dtype = torch::kFloat32, .mesh = mesh});
  return static_cast<int64_t>(dynamic_cast<FlatModel&>(*module).flat_parameters().compute().nbytes());
}

int run(const std::filesystem::path& folder, const std::string& output, const std::string& shard) {
  const World world = detect_world();
  CommOptions options;
  options.shape = {1, world.size, 1};
  options.init_timeout = options.train_timeout = 60;
  const std::shared_ptr<Communicator> ranks = connect(world, options);
  EncoderPlacement placement;
  placement.mesh = &ranks->mesh();
  for (const auto& choice : choices_of(EncoderSharding{})) {
    if (shard == choice.text) placement.shard = choice.value;
  }
  const auto t5 =
      cached_caption_encoder(t5_caption_encoder(folder / "t5", {}, kTokens, 0, placement), torch::kCPU, kCacheBytes);
  const auto clip =
      cached_caption_encoder(clip_caption_encoder(folder / "clip", {}, 0, placement), torch::kCPU, kCacheBytes);
  TensorMap results;
  for (int round = 0; round < 3; ++round) {
    results[str("t5.", round)] = t5->encode(captions_of(world.rank, round));
    results[str("clip.", round)] = clip->encode(captions_of(world.rank, round));
  }
  Mesh* mesh = shard == "true" ? &ranks->mesh() : nullptr;
  results["bytes"] = torch::tensor({own_bytes(folder / "t5", "t5", mesh), own_bytes(folder / "clip", "clip", mesh)});
  save_tensors(str(output, "-", world.rank, ".safetensors"), results);
  ranks->leave();
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: encoder_ranks_tool FOLDER OUTPUT SHARD\n", stderr);
    return 2;
  }
  try {
    return millrace::run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
