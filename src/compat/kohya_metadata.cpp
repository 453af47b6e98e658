// What LoRA files say of the arguments: those that a run cannot tell from its own options.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "adapters/lora_metadata_keys.h"
#include "base/python_float.h"
#include "base/text.h"
#include "compat/kohya_options.h"
#include "compat/kohya_parts.h"
#include "config/number_text.h"
#include "formats/python_json.h"

namespace millrace {
namespace {

// Arguments that are written as given, the name of the fact where it is another, and the option of ours that they
// become: a run that has it says the same by itself.
struct GivenFact {
  const char* argument;
  const char* fact = nullptr;
  const char* option = "";
};
constexpr GivenFact kGivenFacts[] = {
    {"noise_offset"},
    {"noise_offset_random_strength"},
    {"adaptive_noise_scale"},
    {"multires_noise_iterations"},
    {"multires_noise_discount"},
    {"min_snr_gamma"},
    {"zero_terminal_snr"},
    {"clip_skip"},
    {"max_token_length"},
    {"lowram"},
    {"weighting_scheme"},
    {"debiased_estimation_loss", "debiased_estimation"},
    {"unet_lr"},
    {"caption_dropout_rate"},
    {"caption_dropout_every_n_epochs"},
    {"caption_tag_dropout_rate"},
    {"resize_interpolation"},
    {"validation_seed"},
    {"validation_split"},
    {"max_validation_steps"},
    {"validate_every_n_epochs"},
    {"validate_every_n_steps"},
    {"fp8_base_unet"},
    {"prior_loss_weight", nullptr, "training.prior_loss_weight"},
    {"max_grad_norm", nullptr, "training.max_norm"},
    {"network_dropout", nullptr, "lora.dropout"},
    {"scale_weight_norms", nullptr, "lora.scale_weight_norms"},
    {"guidance_scale", nullptr, "objective.guidance_scale"},
    {"sigmoid_scale", nullptr, "objective.sigmoid_scale"},
    {"discrete_flow_shift", nullptr, "objective.discrete_flow_shift"},
    {"logit_mean", nullptr, "objective.logit_mean"},
    {"logit_std", nullptr, "objective.logit_std"},
    {"mode_scale", nullptr, "objective.mode_scale"},
    {"huber_schedule", nullptr, "objective.huber_schedule"},
    {"huber_c", nullptr, "objective.huber_c"},
    {"huber_scale", nullptr, "objective.huber_scale"},
    {"ip_noise_gamma", nullptr, "objective.ip_noise_gamma"},
    {"ip_noise_gamma_random_strength", nullptr, "objective.ip_noise_gamma_random_strength"}};

// "512x768" of "512,768", and "512x512" of "512".
std::string model_resolution(std::string argument) {
  std::erase(argument, ' ');
  const size_t comma = argument.find(',');
  if (comma == std::string::npos) return argument + "x" + argument;
  return argument.substr(0, comma) + "x" + argument.substr(comma + 1);
}

// A file of arguments has "1" where a command line has "1.0".
bool is_whole_in_file(const KohyaArguments& args, const std::string& name) {
  const auto found = args.given().find(name);
  if (found == args.given().end() || starts_with(found->second.place, "--")) return false;
  return found->second.words.size() == 1 && parse_integer(found->second.words[0]);
}

// As Python's str() writes what argparse makes of it.
std::string python_value(const KohyaArguments& args, const std::string& name) {
  switch (find_kohya_option(name)->type) {
    case KohyaType::kFlag:
      return "True";
    case KohyaType::kInteger:
      return std::to_string(args.integer(name).value_or(0));
    case KohyaType::kNumber:
      if (is_whole_in_file(args, name)) return *args.text(name);
      return python_float(args.number(name).value_or(0));
    case KohyaType::kText:
    case KohyaType::kTexts:
      break;
  }
  return args.text(name).value_or("");
}

// "(0.5, 2.0)" of "0.5,2"; another text as it is.
std::string python_pair(const std::string& text) {
  std::vector<std::string> numbers;
  for (const std::string& part : split(text, ',')) {
    const auto number = parse_floating_point(trim(part));
    if (!number) return text;
    numbers.push_back(python_float(*number));
  }
  return "(" + join(numbers, ", ") + ")";
}

// "" where no arguments of the network are given, of which sd-scripts then says nothing.
std::string network_args_json(const KohyaArguments& args) {
  nlohmann::ordered_json pairs = nlohmann::ordered_json::object();
  for (const std::string& word : args.texts("network_args")) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) pairs[word.substr(0, equals)] = word.substr(equals + 1);
  }
  if (pairs.empty()) return "";
  if (!args.has("dim_from_weights") && !pairs.contains("dropout")) {
    const auto dropout = args.number("network_dropout");
    pairs["dropout"] = dropout ? nlohmann::ordered_json(*dropout) : nlohmann::ordered_json();
  }
  return python_json(pairs);
}

std::vector<std::string> given_facts(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  std::vector<std::string> facts;
  const auto add = [&](const std::string& name, const std::string& value) {
    facts.push_back(kAnyFactPrefix + name + "=" + value);
  };
  add("network_dim", args.has("network_dim") ? python_value(args, "network_dim") : "None");
  add("network_alpha", args.has("network_alpha") ? python_value(args, "network_alpha") : "1");
  // Adafactor that chooses its rate makes sd-scripts forget both.
  const bool has_rates = kohya.has_own_rate();
  for (const auto& [argument, fact, option] : kGivenFacts) {
    const bool is_said = kohya.out.has(option) && !is_whole_in_file(args, argument);
    if (!args.has(argument) || is_said || (!has_rates && argument == std::string_view("unet_lr"))) continue;
    add(fact != nullptr ? fact : argument, python_value(args, argument));
  }
  if (const auto range = args.text("face_crop_aug_range")) add("face_crop_aug_range", python_pair(*range));
  if (!kohya.around.model.has_guidance && !args.has("guidance_scale")) {
    add("guidance_scale", python_value(args, "guidance_scale"));
  }
  if (kohya.around.has_validation_split && !args.has("validation_split")) add("validation_split", "0.0");
  if (args.has("fp8_base_unet") && !args.has("fp8_base")) add("fp8_base", "False");
  if (kohya.around.world_size > 1) {
    add("gradient_accumulation_steps", python_value(args, "gradient_accumulation_steps"));
  }
  const double rate = *args.number("learning_rate");
  if (!has_rates) add("learning_rate", "None");
  if (has_rates && (kohya.base_rate() != rate || is_whole_in_file(args, "learning_rate"))) {
    add("learning_rate", python_value(args, "learning_rate"));
  }
  if (args.has("text_encoder_lr")) {
    std::vector<std::string> rates;
    for (const std::string& text : args.texts("text_encoder_lr")) {
      rates.push_back(python_float(parse_floating_point(text).value_or(0)));
    }
    add("text_encoder_lr", "[" + join(rates, ", ") + "]");
  } else if (kohya.out.has("lora.text_encoder_lr")) {
    add("text_encoder_lr", "None");
  }
  if (const std::string json = network_args_json(args); !json.empty()) add("network_args", json);
  return facts;
}

// Without a data set file sd-scripts writes its options one by one. The sides of buckets as their steps make them.
void add_dataset_facts(const KohyaTranslator& kohya, std::vector<std::string>& facts) {
  const KohyaArguments& args = kohya.args;
  if (args.has("dataset_config")) return;
  const auto add = [&](const std::string& name, const std::string& value) {
    facts.push_back(kAnyFactPrefix + name + "=" + value);
  };
  const int64_t batch = args.integer("train_batch_size").value_or(1);
  add("batch_size_per_device", std::to_string(batch));
  add("total_batch_size", std::to_string(batch * kohya.around.world_size *
                                         std::max<int64_t>(1, *args.integer("gradient_accumulation_steps"))));
  if (const auto resolution = args.text("resolution")) {
    const std::string both = model_resolution(*resolution);
    const size_t cross = both.find('x');
    add("resolution", "(" + both.substr(0, cross) + ", " + both.substr(cross + 1) + ")");
  }
  for (const char* name : {"color_aug", "flip_aug", "random_crop", "shuffle_caption", "enable_bucket"}) {
    add(name, args.has(name) ? "True" : "False");
  }
  const bool has_buckets = args.has("enable_bucket");
  add("bucket_no_upscale", has_buckets && args.has("bucket_no_upscale") ? "True" : "False");
  const int64_t step = std::max<int64_t>(1, *args.integer("bucket_reso_steps"));
  const int64_t least = *args.integer("min_bucket_reso") / step * step;
  const int64_t most = (*args.integer("max_bucket_reso") + step - 1) / step * step;
  add("min_bucket_reso", has_buckets ? std::to_string(least) : "None");
  add("max_bucket_reso", has_buckets ? std::to_string(most) : "None");
  add("keep_tokens", std::to_string(args.integer("keep_tokens").value_or(0)));
}

}  // namespace

void KohyaTranslator::metadata() {
  std::vector<std::string> facts = given_facts(*this);
  add_dataset_facts(*this, facts);
  for (const std::string name : kLoraMetadataKeys) {
    if (name == "optimizer" || name == "lr_scheduler") continue;
    const std::string option = name == "output_name" || name == "resolution" ? name : "metadata_" + name;
    if (!args.has(option)) continue;
    const std::string value = *args.text(option);
    facts.push_back(name + "=" + (name == "resolution" ? model_resolution(value) : value));
    if (name != "output_name") out.note(from(option), Fate::kBecame, "modelspec." + name + " of the LoRA file");
  }
  // A class without arguments is what the run writes by itself.
  const std::string optimizer = optimizer_text();
  if (optimizer.find('(') != std::string::npos || optimizer.find("Paged") != std::string::npos) {
    facts.push_back("optimizer=" + optimizer);
  }
  // sd-scripts' metadata have the option that --lr_scheduler_type replaces.
  if (args.has("lr_scheduler_type")) {
    facts.push_back("lr_scheduler=" + args.text("lr_scheduler").value_or("constant"));
  }
  if (!facts.empty()) out.set("lora.metadata", facts, {.name = "sd-scripts", .value = "", .place = ""});
}

}  // namespace millrace
