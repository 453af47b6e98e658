#include "diffusion/lora_readers.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "base/text.h"
#include "models/lora_text_names.h"

namespace millrace {
namespace {

bool is_of_t5(const AdapterTensors& adapter) {
  const auto layer = flux::parse_text_encoder_layer(adapter.module);
  return layer && layer->part == flux::LoraPart::kT5;
}

bool is_outside_of_blocks(const AdapterTensors& adapter) {
  return !starts_with(adapter.module, "double_blocks.") && !starts_with(adapter.module, "single_blocks.");
}

bool is_lora(const AdapterTensors& adapter) {
  return adapter.kind == AdapterKind::kLora;
}

bool has_only_lora(const flux::LoraParts& parts) {
  return std::all_of(parts.transformer.begin(), parts.transformer.end(), is_lora) &&
         std::all_of(parts.text_encoders.begin(), parts.text_encoders.end(), is_lora);
}

bool has_adapters_of_t5(const flux::LoraParts& parts) {
  return std::any_of(parts.text_encoders.begin(), parts.text_encoders.end(), is_of_t5);
}

// "13 of the transformer, 12 of CLIP and 8 of T5"
std::string counts_text(const flux::LoraParts& parts) {
  const auto of_t5 = std::count_if(parts.text_encoders.begin(), parts.text_encoders.end(), is_of_t5);
  const auto of_clip = std::ssize(parts.text_encoders) - of_t5;
  std::vector<std::string> counts;
  if (!parts.transformer.empty()) counts.push_back(str(parts.transformer.size(), " of the transformer"));
  if (of_clip > 0) counts.push_back(str(of_clip, " of CLIP"));
  if (of_t5 > 0) counts.push_back(str(of_t5, " of T5"));
  if (counts.size() < 2) return join(counts, "");
  const std::string last = counts.back();
  counts.pop_back();
  return join(counts, ", ") + " and " + last;
}

}  // namespace

bool needs_diffusers_file(const flux::LoraParts& parts) {
  if (!has_only_lora(parts)) return false;  // it has no naming for other kinds either
  const bool has_t5 = has_adapters_of_t5(parts);
  const bool has_others =
      !parts.transformer.empty() || !std::all_of(parts.text_encoders.begin(), parts.text_encoders.end(), is_of_t5);
  return has_others &&
         (has_t5 || std::any_of(parts.transformer.begin(), parts.transformer.end(), is_outside_of_blocks));
}

flux::LoraParts parts_for_diffusers(flux::LoraParts parts) {
  std::erase_if(parts.text_encoders, is_of_t5);
  return parts;
}

std::string lora_readers(const flux::LoraParts& parts, const std::string& file, const std::string& diffusers_file) {
  std::string text = str(file, " has adapters, ", counts_text(parts), ": ComfyUI and Forge read all of them");
  if (!parts.text_encoders.empty()) text += " (ComfyUI's LoraLoaderModelOnly the transformer's alone)";
  if (!has_only_lora(parts))
    return text +
           "; diffusers reads LoRA alone, and so not this file (but what millrace export --naming diffusers makes of "
           "it)";
  const bool has_t5 = has_adapters_of_t5(parts);
  if (!needs_diffusers_file(parts)) return text + (has_t5 ? "; diffusers takes none of T5" : ", and so does diffusers");
  return text + "; for diffusers there is " + diffusers_file +
         (has_t5 ? ", without those of T5, of which it takes none" : ", with the names that it needs");
}

}  // namespace millrace
