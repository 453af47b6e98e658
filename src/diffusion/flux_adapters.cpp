#include "diffusion/flux_adapters.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "adapters/layer_patterns.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/initial_adapters.h"
#include "diffusion/latents.h"
#include "models/flux/lora_layout.h"
#include "models/flux/lora_split.h"

namespace millrace {
namespace {

std::map<std::string, std::shared_ptr<Linear>> linear_layers(const flux::Flux& model) {
  std::map<std::string, std::shared_ptr<Linear>> layers;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (const auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layers.emplace(item.key(), layer);
  }
  return layers;
}

std::vector<std::string> patterns_of(const std::vector<std::string>& targets) {
  std::vector<std::string> patterns;
  for (const std::string& target : targets) {
    if (target == "all") {
      patterns.insert(patterns.end(), {"double_blocks.*", "single_blocks.*"});
    } else if (target == "attention") {
      patterns.insert(patterns.end(), {"double_blocks.*_attn.qkv", "double_blocks.*_attn.proj",
                                       "single_blocks.*.linear1", "single_blocks.*.linear2"});
    } else {
      patterns.push_back(target);
    }
  }
  return patterns;
}

std::vector<AdaptableLayer::Part> parts_of(const flux::FluxConfig& sizes, const std::string& layer) {
  std::vector<AdaptableLayer::Part> parts;
  for (const int64_t rows : flux::fused_rows(sizes, layer)) {
    parts.push_back({flux::kFusedParts.at(parts.size()), rows});
  }
  return parts;
}

std::vector<AdaptableLayer> chosen_layers(const flux::Flux& model, const LoraConfig& config,
                                          const FluxAdapterOptions& options,
                                          const std::vector<TrainedEncoder>& encoders) {
  const auto layers = linear_layers(model);
  std::vector<AdaptableLayer> chosen;
  for (const std::string& name : adapted_layers(model, config.targets)) {
    chosen.push_back({.name = name, .linear = layers.at(name)});
    if (options.split_qkv) chosen.back().parts = parts_of(model.config(), name);
  }
  for (const TrainedEncoder& trained : encoders) {
    for (const auto& item : trained.encoder->model().named_modules("", /*include_self=*/false)) {
      const auto layer = std::dynamic_pointer_cast<Linear>(item.value());
      if (!layer) continue;
      chosen.push_back({.name = trained.prefix + item.key(),
                        .linear = layer,
                        .lr_factor = trained.lr_factor,
                        .loraplus_ratio = trained.loraplus_ratio});
    }
  }
  return chosen;
}

}  // namespace

std::vector<std::string> adapted_layers(const flux::Flux& model, const std::vector<std::string>& targets) {
  std::vector<std::string> names;
  bool has_double = false, has_single = false;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (!std::dynamic_pointer_cast<Linear>(item.value())) continue;
    names.push_back(item.key());
    has_double = has_double || starts_with(item.key(), "double_blocks.");
    has_single = has_single || starts_with(item.key(), "single_blocks.");
  }
  std::vector<std::string> patterns;
  for (const std::string& pattern : patterns_of(targets)) {
    // A named set covers the kinds of blocks that the model has.
    const bool is_absent = (!has_double && starts_with(pattern, "double_blocks.*")) ||
                           (!has_single && starts_with(pattern, "single_blocks.*"));
    if (!is_absent) patterns.push_back(pattern);
  }
  return matching_layers(names, patterns, "lora.targets");
}

FluxAdapters::FluxAdapters(const LoraConfig& config, const flux::FluxConfig& sizes,
                           const FlatParametersOptions& placement, const FluxAdapterOptions& options,
                           std::vector<TrainedEncoder> encoders)
    : config_(config),
      options_(options),
      model_(sizes, frozen_placement(placement, config)),
      encoders_(std::move(encoders)),
      adapters_(config, chosen_layers(model_, config, options, encoders_), placement) {
  for (const TrainedEncoder& trained : encoders_) {
    trained.encoder->set_trained({.use = [this] { return adapters_.forward_use(/*keep=*/false); },
                                  .set_strength = [this](double strength) { adapters_.set_strength(strength); }});
  }
}

// Passes of adapters: they have memory for the whole of each, and are reduced once at the end of the backward pass

void FluxAdapters::start_training_pass(uint64_t seed, const FluxBatch& batch) {
  adapters_.start_training_pass({seed, batch.epochs, batch.sample_ids});
  captions_ = &batch.captions;
}

void FluxAdapters::end_training_pass() {
  adapters_.end_training_pass();
  captions_ = nullptr;
  in_pass_.clear();
}

// Batches for training leave out what a trained encoder makes.
bool FluxAdapters::trains(const TrainedEncoder& encoder, const flux::FluxInputs& inputs) const {
  return !(encoder.is_pooled ? inputs.y_BV : inputs.txt_BTX).defined();
}

bool FluxAdapters::encode(const TrainedEncoder& trained, flux::FluxInputs& inputs) {
  if (!trains(trained, inputs)) return false;
  MILLRACE_CHECK(captions_ != nullptr);
  const torch::Tensor encoding = trained.encoder->forward(*captions_);
  if (trained.is_pooled) {
    inputs.y_BV = encoding;
  } else {
    inputs.txt_BTX = encoding;
    inputs.txt_ids_BTA = text_ids(encoding.size(1), encoding.device());
  }
  return true;
}

torch::Tensor FluxAdapters::forward(const flux::FluxInputs& given, flux::Flux::Saved* saved, Keep keep) {
  const UnitUse use = adapters_.forward_use(/*keep=*/saved != nullptr);
  flux::FluxInputs inputs = given;
  for (const TrainedEncoder& trained : encoders_) {
    if (!encode(trained, inputs)) continue;
    MILLRACE_CHECK(saved != nullptr);
    in_pass_.push_back(&trained);
  }
  return model_.forward(inputs, saved, keep);
}

torch::Tensor FluxAdapters::frozen_forward(const flux::FluxInputs& given, const std::vector<int64_t>& rows) {
  const UnitUse use = adapters_.forward_use(/*keep=*/false);
  flux::FluxInputs inputs = given;
  for (const TrainedEncoder& trained : encoders_) encode(trained, inputs);
  const torch::Tensor index = torch::tensor(rows, torch::kInt64).to(inputs.img_BIC.device());
  for (torch::Tensor* part :
       {&inputs.img_BIC, &inputs.txt_BTX, &inputs.timesteps_B, &inputs.y_BV, &inputs.guidance_B}) {
    if (part->defined()) *part = part->index_select(0, index);
  }
  std::vector<int64_t> lengths;
  for (const int64_t row : rows) {
    if (!inputs.text_lengths.empty()) lengths.push_back(inputs.text_lengths[static_cast<size_t>(row)]);
  }
  inputs.text_lengths = std::move(lengths);
  adapters_.set_strength(0);
  torch::Tensor output = model_.forward(inputs);
  adapters_.set_strength(1);
  return output;
}

void FluxAdapters::backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) {
  const UnitUse use = adapters_.backward_use();
  if (in_pass_.empty()) return model_.backward(saved, doutput_BIC);
  using Of = flux::FluxInputGradients::Of;
  const bool pooled_alone =
      std::all_of(in_pass_.begin(), in_pass_.end(), [](const TrainedEncoder* trained) { return trained->is_pooled; });
  flux::FluxInputGradients gradients;
  gradients.of = pooled_alone ? Of::kPooled : Of::kText;
  model_.backward(saved, doutput_BIC, &gradients);
  for (const TrainedEncoder* trained : in_pass_) {
    trained->encoder->backward(trained->is_pooled ? gradients.y_BV : gradients.txt_BTX);
  }
  in_pass_.clear();
}

// Values

void FluxAdapters::initialize(uint64_t seed) {
  std::vector<AdaptedBase> bases = {{"", &model_.flat_parameters()}};
  for (const TrainedEncoder& trained : encoders_) {
    bases.push_back({trained.prefix, &trained.encoder->model().flat_parameters()});
  }
  adapters_.initialize(seed, bases);
}

bool FluxAdapters::has_layer(const std::string& name) const {
  return adapters_.has_layer(name) || adapters_.has_layer(name + "." + flux::kFusedParts.front());
}

void FluxAdapters::start_from(const std::filesystem::path& file) {
  const std::string place = file.string();
  const bool is_strict = options_.initial_adapter_strict;
  std::vector<std::string> passed_over;
  InitialAdapters found = read_initial_adapters(file, model_.config(), is_strict ? nullptr : &passed_over);
  const size_t untrained = std::erase_if(found.text_encoders, [&](const AdapterTensors& adapter) {
    return std::none_of(encoders_.begin(), encoders_.end(),
                        [&](const TrainedEncoder& trained) { return starts_with(adapter.module, trained.prefix); });
  });
  if (untrained > 0) log_info(place, ": leaves out ", untrained, " adapters of text encoders that are not trained");
  if (!is_strict) {
    for (std::vector<AdapterTensors>* adapters : {&found.transformer, &found.text_encoders}) {
      std::erase_if(*adapters, [&](const AdapterTensors& adapter) {
        const bool is_passed_over = !has_layer(adapter.module);
        if (is_passed_over) passed_over.push_back(name_in_file(adapter));
        return is_passed_over;
      });
    }
  }
  if (!passed_over.empty()) {
    log_warning(place, ": passes over ", passed_over.size(), " adapters of layers that are not trained here, ",
                passed_over.front(), " first");
  }
  std::vector<AdapterTensors> adapters = std::move(found.transformer);
  if (options_.split_qkv) {
    const bool is_theirs = options_.split_qkv_alpha == SplitAlpha::kSdScripts;
    adapters = flux::split_adapters(adapters, model_.config(), is_theirs, place);
  }
  std::move(found.text_encoders.begin(), found.text_encoders.end(), std::back_inserter(adapters));
  if (adapters.empty()) throw ModelError("[" + place + "] expected adapters of layers that are trained, got none");
  adapters_.start_from(initial_values(adapters, config_, place), file);
}

}  // namespace millrace
