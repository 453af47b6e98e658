// torchtune's components: the dotted names that a YAML file has under _component_, and what each is here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace millrace {

enum class TuneRole {
  kModel,
  kTokenizer,
  kDataset,
  kOptimizer,
  kLoss,
  kSchedule,
  kProfiler,
  kMetricLogger,
  kCheckpointer,
  kCollate,
  kParallelPlan,
};
const char* role_name(TuneRole role);  // "model"

struct TuneComponent {
  const char* name;  // "torchtune.models.llama3.llama3_tokenizer"
  TuneRole role;
  const char* here;     // what it is called in this program; "" where nothing needs a name
  const char* instead;  // nullptr: it is had; else why not, and what there is instead
};
std::span<const TuneComponent> tune_components();

// Throws ConfigError naming place: a component of another role, one that is not had with what there is instead, an
// unknown one with the nearest known name of the role.
const TuneComponent& find_tune_component(const std::string& name, TuneRole role, const std::string& place);

enum class TuneAdapter { kNone, kLora, kQuantizedLora };

// A builder of models: torchtune.models.llama3_1.lora_llama3_1_8b.
struct TuneModel {
  const char* builder;                          // without lora_ and qlora_
  int64_t hidden_size, num_layers, vocab_size;  // 0: they are arguments
};
struct ChosenTuneModel {
  const TuneModel* model = nullptr;
  TuneAdapter adapter = TuneAdapter::kNone;
};
// Throws ConfigError as above.
ChosenTuneModel find_tune_model(const std::string& name, const std::string& place);

}  // namespace millrace
