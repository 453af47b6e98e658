// Encodes a batch for each line on stdin and says how long that took; see run.py.
//   encode_dataset_worker CONFIG.toml OUTPUT      lines: t5, clip, autoencoder or whole
// "whole" is what `millrace prepare encode` does with a batch: read, decode, tokenize, encode, write.

#include <cstdio>
#include <iostream>
#include <string>

#include "../process_usage.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "data/dataset_files.h"
#include "metrics/memory.h"
#include "nn/cpu_allocator.h"
#include "prepare/encode/encode_networks.h"
#include "prepare/encode/unit_encoder.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

void run(const std::string& config_file, const std::string& output) {
  install_caching_cpu_allocator();
  const std::unique_ptr<RunConfig> loaded = load_task_config(config_file, {});
  const FluxRunConfig& config = as_flux(*loaded);
  const DatasetKind& kind = find_dataset_kind(config.training_pictures.dataset);
  ShardCache cache(list_dataset(kind, config.training_pictures.dataset_path, "training.dataset_path"));
  const SampleTable table({cache.sample_count(0)});
  EncodeNetworks networks;
  load_autoencoder(networks, config);
  load_caption_encoders(networks, config, nullptr);
  UnitEncoderOptions options;
  options.batch_size = config.training.local_batch_size;
  options.img_size = config.training_pictures.img_size;
  options.num_workers = 2;
  UnitEncoder encoder(options, kind, cache, table, networks);

  const int64_t batch = options.batch_size;
  std::vector<std::string> captions;
  for (int64_t i = 0; i < batch; ++i) captions.push_back(str("a photograph of the number ", i, " on a wooden table"));
  const torch::Tensor image_BCHW = torch::rand({batch, 3, options.img_size, options.img_size}) * 2 - 1;
  std::printf("{\"ready\": true}\n");
  std::fflush(stdout);
  int64_t begin = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const torch::NoGradGuard no_grad;
    const double wall = now_seconds(), cpu = process_cpu_seconds();
    if (line == "t5") networks.encoders.tokens->encode(captions);
    if (line == "clip") networks.encoders.pooled->encode(captions);
    if (line == "autoencoder") networks.codec->moments(image_BCHW);
    if (line == "whole") {
      if (begin + batch > table.size()) begin = 0;
      encoder.encode(
          {begin, begin + batch}, output, 0, [](const UnitReport&) {}, [](int64_t) {});
      encoder.wait_for_files();
      begin += batch;
    }
    std::printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"peak\": %llu}\n", now_seconds() - wall,
                process_cpu_seconds() - cpu, static_cast<unsigned long long>(process_memory().peak_bytes));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: encode_dataset_worker CONFIG.toml OUTPUT\n", stderr);
    return 2;
  }
  try {
    millrace::run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
