// Links: tokenizers base
// Captions, and for Llama lines of text, per second of the tokenizers, one thread. Vocabularies come from the
// environment: MILLRACE_CLIP_TOKENIZER, MILLRACE_T5_TOKENIZER, MILLRACE_LLAMA3_TOKENIZER (what --tokenizer takes) and
// MILLRACE_CAPTIONS (one caption a line).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "tokenizers/tokenizer.h"

namespace millrace {
namespace {

// length: 0: the ids of the text alone.
void encode_captions(benchmark::State& state, const char* variable, int64_t length) {
  const char* path = std::getenv(variable);
  const char* captions_path = std::getenv("MILLRACE_CAPTIONS");
  if (path == nullptr || captions_path == nullptr) {
    state.SkipWithError((std::string("set ") + variable + " and MILLRACE_CAPTIONS").c_str());
    return;
  }
  const auto tokenizer = load_tokenizer(path);
  const std::vector<std::string> captions = split(read_file(captions_path), '\n');
  int64_t bytes = 0;
  for (const std::string& caption : captions) bytes += static_cast<int64_t>(caption.size());
  for (auto _ : state) {
    for (const std::string& caption : captions) {
      benchmark::DoNotOptimize(length == 0 ? tokenizer->encode(caption) : tokenizer->encode_padded(caption, length));
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * bytes);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * captions.size()));
}

void clip(benchmark::State& state) {
  encode_captions(state, "MILLRACE_CLIP_TOKENIZER", 77);
}
void t5(benchmark::State& state) {
  encode_captions(state, "MILLRACE_T5_TOKENIZER", 256);
}
void llama3(benchmark::State& state) {
  encode_captions(state, "MILLRACE_LLAMA3_TOKENIZER", 0);
}
BENCHMARK(clip)->Unit(benchmark::kMillisecond);
BENCHMARK(t5)->Unit(benchmark::kMillisecond);
BENCHMARK(llama3)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace millrace

BENCHMARK_MAIN();
