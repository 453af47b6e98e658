// Reads so many pictures with millrace's loader and prints how long that took.
//
//   image_pipeline_loader SHARDS SIZE BATCH BATCHES exact|scaled [WORKERS]
//
// Prints JSON: images, wall seconds and CPU seconds of the process from the first batch's request to the last batch's
// arrival, after one batch to warm up.
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "../process_usage.h"
#include "base/clock.h"
#include "base/error.h"
#include "data/picture_decoder.h"
#include "data/sample_loader.h"

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: image_pipeline_loader SHARDS SIZE BATCH BATCHES exact|scaled [WORKERS]\n");
    return 2;
  }
  try {
    millrace::SampleLoaderOptions options;
    millrace::PictureDecoderOptions pictures;
    options.shards = millrace::list_shards({argv[1]});
    pictures.transform.size = std::atoi(argv[2]);
    options.batch_size = std::atoi(argv[3]);
    const int batches = std::atoi(argv[4]);
    pictures.transform.exact_decode = std::string(argv[5]) == "exact";
    options.num_workers = argc > 6 ? std::atoi(argv[6]) : 1;
    options.prefetch_batches = 1;
    torch::set_num_threads(1);
    millrace::SampleLoader loader(options, std::make_unique<millrace::PictureDecoder>(pictures));
    loader.next();
    const double wall = millrace::now_seconds(), cpu = process_cpu_seconds();
    double sum = 0;
    for (int i = 0; i < batches; ++i) sum += loader.next().fields[0][0][0][0][0].item<float>();
    std::printf("{\"images\": %lld, \"wall\": %.6f, \"cpu\": %.6f, \"check\": %.6f}\n",
                static_cast<long long>(batches * options.batch_size), millrace::now_seconds() - wall,
                process_cpu_seconds() - cpu, sum);
  } catch (const millrace::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
