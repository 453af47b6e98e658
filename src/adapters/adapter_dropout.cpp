#include "adapters/adapter_dropout.h"

#include "base/error.h"
#include "base/files.h"

namespace millrace {
namespace {

// One stream for each sample. Number 0 decides about the adapter, number 1 + r about its rank r.
std::vector<RandomStream> streams_of(const char* use, const std::string& layer, const DropoutSamples& samples) {
  const std::string name = layer + use;
  const uint64_t seed = mix64(samples.seed ^ checksum64(name.data(), name.size()));
  MILLRACE_CHECK(samples.epochs.size() == samples.sample_ids.size());
  std::vector<RandomStream> streams;
  for (size_t i = 0; i < samples.epochs.size(); ++i) {
    streams.push_back(random_stream(seed, RandomPurpose::kAugmentation, samples.epochs[i], samples.sample_ids[i]));
  }
  return streams;
}

// The factors on the ranks of each sample, [B, R].
void append_factors(const LoraConfig& config, int64_t rank, const std::vector<RandomStream>& streams,
                    std::vector<float>& factors) {
  const auto kept = static_cast<float>(1 / (1 - config.rank_dropout));
  for (const RandomStream& stream : streams) {
    const bool is_out = random_uniform(stream, 0) < static_cast<float>(config.module_dropout);
    for (int64_t r = 0; r < rank; ++r) {
      const bool is_dropped =
          is_out || random_uniform(stream, static_cast<uint64_t>(1 + r)) < static_cast<float>(config.rank_dropout);
      factors.push_back(is_dropped ? 0 : kept);
    }
  }
}

}  // namespace

bool has_dropout(const LoraConfig& config) {
  return config.dropout > 0 || config.rank_dropout > 0 || config.module_dropout > 0;
}

void set_dropout(const std::vector<AdaptedLayer>& layers, const LoraConfig& config, const DropoutSamples& samples) {
  if (layers.empty() || layers.front().adapter->down_RK.is_meta()) return;  // planning
  if (config.dropout > 0) {
    for (const AdaptedLayer& layer : layers) {
      layer.adapter->set_dropout(config.dropout, streams_of("/numbers", layer.name, samples));
    }
  }
  if (config.rank_dropout == 0 && config.module_dropout == 0) return;
  std::vector<float> factors;
  for (const AdaptedLayer& layer : layers) {
    append_factors(config, layer.adapter->down_RK.size(0), streams_of("/ranks", layer.name, samples), factors);
  }
  // One copy to the device for all layers.
  const torch::Tensor all = torch::tensor(factors, torch::kFloat32).to(layers.front().adapter->down_RK.device());
  const auto batch = static_cast<int64_t>(samples.epochs.size());
  int64_t begin = 0;
  for (const AdaptedLayer& layer : layers) {
    const int64_t rank = layer.adapter->down_RK.size(0);
    layer.adapter->set_mask(all.narrow(0, begin, batch * rank).view({batch, rank}));
    begin += batch * rank;
  }
}

void clear_dropout(const std::vector<AdaptedLayer>& layers) {
  for (const AdaptedLayer& layer : layers) {
    layer.adapter->set_dropout(0, {});
    layer.adapter->set_mask({});
  }
}

}  // namespace millrace
