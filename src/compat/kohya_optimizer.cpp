// The optimizer: sd-scripts' names in any case, its packages' defaults, and --optimizer_args.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "base/text.h"
#include "compat/kohya_parts.h"
#include "compat/python_literal.h"
#include "config/number_text.h"
#include "config/optimizer_rules.h"
#include "config/sections/training.h"

namespace millrace {
namespace {

// A name of theirs in small letters, without the package before it.
struct OptimizerRow {
  const char* theirs;
  const char* ours;       // nullptr: not here
  const char* note;       // of the name; where there is none of ours, what to take instead
  const char* type = "";  // their class with its module
};
constexpr std::array kOptimizers = std::to_array<OptimizerRow>({
    {"adamw", "AdamW", "", "torch.optim.adamw.AdamW"},
    {"pagedadamw", "AdamW", "paging keeps the state elsewhere and computes the same",
     "bitsandbytes.optim.adamw.PagedAdamW"},
    {"pagedadamw32bit", "AdamW", "paging keeps the state elsewhere and computes the same",
     "bitsandbytes.optim.adamw.PagedAdamW32bit"},
    {"adamw8bit", "AdamW8bit", "", "bitsandbytes.optim.adamw.AdamW8bit"},
    {"pagedadamw8bit", "AdamW8bit", "paging keeps the state elsewhere and computes the same",
     "bitsandbytes.optim.adamw.PagedAdamW8bit"},
    {"adam", "Adam", "", "torch.optim.adam.Adam"},
    {"lion", "Lion", "", "lion_pytorch.lion_pytorch.Lion"},
    {"lion8bit", nullptr, "Lion"},
    {"pagedlion8bit", nullptr, "Lion"},
    {"sgdnesterov", "SGD", "", "torch.optim.sgd.SGD"},
    {"sgdnesterov8bit", nullptr, "SGDNesterov"},
    {"sgd", "SGD", "", "torch.optim.sgd.SGD"},
    {"prodigy", "Prodigy", "", "prodigyopt.prodigy.Prodigy"},
    {"adafactor", "Adafactor", "", "transformers.optimization.Adafactor"},
    {"adamwschedulefree", "AdamWScheduleFree", "", "schedulefree.adamw_schedulefree.AdamWScheduleFree"},
    {"radamschedulefree", "RAdamScheduleFree", "", "schedulefree.radam_schedulefree.RAdamScheduleFree"},
    {"sgdschedulefree", "SGDScheduleFree", "", "schedulefree.sgd_schedulefree.SGDScheduleFree"},
    {"prodigyplusschedulefree", "ProdigyPlusScheduleFree", "",
     "prodigyplus.prodigy_plus_schedulefree.ProdigyPlusScheduleFree"},
    {"came", "CAME", "", "pytorch_optimizer.optimizer.came.CAME"},
    {"dadaptation", "DAdaptAdamPreprint", "", "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint"},
    {"dadaptadampreprint", "DAdaptAdamPreprint", "",
     "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint"},
    {"dadaptadagrad", "DAdaptAdaGrad", "", "dadaptation.dadapt_adagrad.DAdaptAdaGrad"},
    {"dadaptadam", "DAdaptAdam", "", "dadaptation.dadapt_adam.DAdaptAdam"},
    {"dadaptadan", "DAdaptAdan", "", "dadaptation.dadapt_adan.DAdaptAdan"},
    {"dadaptadanip", "DAdaptAdanIP", "", "dadaptation.experimental.dadapt_adan_ip.DAdaptAdanIP"},
    {"dadaptlion", "DAdaptLion", "", "dadaptation.dadapt_lion.DAdaptLion"},
    {"dadaptsgd", "DAdaptSGD", "", "dadaptation.dadapt_sgd.DAdaptSGD"},
    {"ademamix8bit", nullptr, "AdamW8bit"},
    {"pagedademamix8bit", nullptr, "AdamW8bit"},
});

// Arguments of the packages that change how a step is computed, not its result.
constexpr std::array kNoMatter = {"fused",    "foreach",        "capturable", "fsdp_in_use",
                                  "is_paged", "differentiable", "log_every"};

const OptimizerRow* find_optimizer(const std::string& name) {
  const auto found =
      std::find_if(kOptimizers.begin(), kOptimizers.end(), [&](const OptimizerRow& row) { return name == row.theirs; });
  return found == kOptimizers.end() ? nullptr : &*found;
}

// In small letters, without "torch.optim.".
std::string plain_name(const std::string& name) {
  return to_lower(name.substr(name.rfind('.') + 1));
}

std::string shown_names() {
  return "AdamW, AdamW8bit, Lion, SGDNesterov, Prodigy, Adafactor, CAME, AdamWScheduleFree, RAdamScheduleFree, "
         "SGDScheduleFree, ProdigyPlusScheduleFree, DAdaptAdam, DAdaptation, DAdaptAdan, DAdaptAdanIP, DAdaptLion, "
         "DAdaptSGD, DAdaptAdaGrad";
}

class OptimizerArguments {
 public:
  OptimizerArguments(const KohyaTranslator& kohya, std::string rule) : kohya_(kohya), rule_(std::move(rule)) {}

  void set(const std::string& name, double value, const TheirSetting& from) {
    if (name == "slice_p" || name == "warmup_steps" || name == "prodigy_steps") {
      kohya_.out.set("optimizer." + name, static_cast<int64_t>(value), from);
    } else {
      kohya_.out.set("optimizer." + name, value, from);
    }
  }

  void read(const std::string& word) {
    const TheirSetting from = kohya_.from("optimizer_args");
    const auto [name, value] = parse_python_argument(word);
    if (!value) {
      kohya_.out.refuse(from,
                        "expected name=VALUE with a Python literal for --optimizer_args, got " + json_escape(word));
      return;
    }
    if (name == "betas" || (name == "eps" && value->kind == PythonLiteral::Kind::kTuple)) {
      read_tuple(name, *value, from);
    } else if (std::find(kNoMatter.begin(), kNoMatter.end(), name) != kNoMatter.end()) {
      kohya_.out.note(from, Fate::kBecame, name + " changes nothing in the result");
    } else if (is_at_default(name, *value)) {
      kohya_.out.note(from, Fate::kBecame, name + " is at its default");
    } else if (name == "amsgrad") {
      if (value->kind != PythonLiteral::Kind::kBool || value->boolean) refuse(from, "no amsgrad", word);
    } else if (!has(name)) {
      refuse_unknown(from, name);
    } else if (value->kind == PythonLiteral::Kind::kBool) {
      kohya_.out.set("optimizer." + name, value->boolean, from);
    } else if (value->kind == PythonLiteral::Kind::kNumber && !std::isinf(value->number)) {
      set(name, value->number, from);
    } else if (value->kind != PythonLiteral::Kind::kNone && value->kind != PythonLiteral::Kind::kNumber) {
      refuse(from, "a number, True or False", word);
    }
  }

 private:
  bool has(const std::string& name) const { return optimizer_rule(rule_).has(name); }

  // Arguments of packages that are not had, where they say what is done here anyway.
  static bool is_at_default(const std::string& name, const PythonLiteral& value) {
    constexpr double kNoClipping = 100;  // of gradients above this percentile of earlier norms
    if (name == "percentile_clipping") {
      return value.kind == PythonLiteral::Kind::kNumber && value.number == kNoClipping;
    }
    if (value.kind != PythonLiteral::Kind::kBool) return false;
    static const std::set<std::string> kTrue = {"factored_fp32", "weight_decay_by_lr", "block_wise", "weight_decouple"};
    static const std::set<std::string> kFalse = {"maximize",      "use_cautious", "use_grams",
                                                 "use_adopt",     "use_focus",    "use_muon_pp",
                                                 "use_orthograd", "fixed_decay",  "ams_bound"};
    return (value.boolean ? kTrue : kFalse).contains(name);
  }

  void refuse(const TheirSetting& from, const std::string& expected, const std::string& got) {
    kohya_.out.refuse(from, "expected " + expected + " in --optimizer_args, got " + json_escape(got));
  }

  void refuse_unknown(const TheirSetting& from, const std::string& name) {
    std::vector<std::string> known = {"betas"};
    for (const RuleOption& option : optimizer_rule(rule_).options) known.emplace_back(option.name);
    const std::string near = nearest(name, known);
    refuse(from, "an argument of " + rule_, name + (near.empty() ? "" : " (try " + near + ")"));
  }

  // betas=(0.9, 0.99), with three numbers for CAME and Adan, and Adafactor's eps=(1e-30, 1e-3).
  void read_tuple(const std::string& name, const PythonLiteral& value, const TheirSetting& from) {
    std::vector<std::string> options = {"eps1", "eps2"};
    if (name == "betas") options = {"beta1", "beta2"};
    const bool has_three = name == "betas" && (rule_ == "CAME" || rule_.starts_with("DAdaptAdan"));
    if (has_three) options.emplace_back("beta3");
    if (!has(options[0]) || !has(options[1])) return refuse(from, "an argument of " + rule_, name);
    const auto is_number = [](const PythonLiteral& item) { return item.kind == PythonLiteral::Kind::kNumber; };
    if (value.kind != PythonLiteral::Kind::kTuple || value.items.size() != options.size() ||
        !std::all_of(value.items.begin(), value.items.end(), is_number)) {
      return refuse(from, has_three ? "three numbers" : "two numbers", name);
    }
    for (size_t i = 0; i < options.size(); ++i) set(options[i], value.items[i].number, from);
  }

  const KohyaTranslator& kohya_;
  std::string rule_;
};

struct ChosenOptimizer {
  std::string name;
  TheirSetting from;
};
constexpr std::array kShortFlags = {std::pair{"use_8bit_adam", "AdamW8bit"}, std::pair{"use_lion_optimizer", "Lion"}};

ChosenOptimizer chosen_optimizer(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  ChosenOptimizer chosen = {args.text("optimizer_type").value_or(""), kohya.from("optimizer_type")};
  for (const auto& [flag, type] : kShortFlags) {
    if (args.has(flag)) chosen = {type, kohya.from(flag)};
  }
  if (chosen.name.empty()) chosen.from.value = chosen.name = "AdamW";
  return chosen;
}

void refuse_second_name(const KohyaTranslator& kohya) {
  std::string name = kohya.args.text("optimizer_type").value_or("");
  for (const auto& [flag, type] : kShortFlags) {
    if (!kohya.args.has(flag)) continue;
    if (!name.empty()) kohya.out.refuse(kohya.from(flag), "expected one optimizer, got " + json_escape(name) + " too");
    name = type;
  }
}

}  // namespace

std::string KohyaTranslator::optimizer_text() const {
  const OptimizerRow* row = find_optimizer(plain_name(chosen_optimizer(*this).name));
  if (row == nullptr || row->ours == nullptr) return "";
  std::vector<std::pair<std::string, std::string>> arguments;  // as in a dictionary of Python
  const auto find = [&](const std::string& name) {
    return std::find_if(arguments.begin(), arguments.end(), [&](const auto& each) { return each.first == name; });
  };
  for (const std::string& word : args.texts("optimizer_args")) {
    const auto [name, value] = parse_python_argument(word);
    if (!value) return "";  // refused
    const std::string text = python_text(*value);
    if (const auto known = find(name); known != arguments.end()) {
      known->second = text;
    } else {
      arguments.emplace_back(name, text);
    }
  }
  // What sd-scripts adds.
  const auto value_of = [&](const std::string& name) {
    const auto known = find(name);
    return known == arguments.end() ? "" : known->second;
  };
  if (std::string_view(row->theirs) == "sgdnesterov" && find("momentum") == arguments.end()) {
    arguments.emplace_back("momentum", "0.9");
  }
  if (std::string_view(row->ours) == "Adafactor") {
    if (find("relative_step") == arguments.end()) arguments.emplace_back("relative_step", "True");
    if (value_of("warmup_init") == "True") find("relative_step")->second = "True";
  }
  std::vector<std::string> texts;
  for (const auto& [name, value] : arguments) texts.push_back(name + "=" + value);
  return texts.empty() ? row->type : std::string(row->type) + "(" + join(texts, ",") + ")";
}

bool KohyaTranslator::has_own_rate() const {
  const OptimizerRow* row = find_optimizer(plain_name(args.text("optimizer_type").value_or("")));
  if (row == nullptr || row->ours == nullptr || std::string_view(row->ours) != "Adafactor") return true;
  bool is_relative = true;
  for (const std::string& word : args.texts("optimizer_args")) {
    if (starts_with(word, "relative_step=")) is_relative = word != "relative_step=False";
  }
  return !is_relative;
}

double KohyaTranslator::transformer_rate() const {
  return args.number("unet_lr").value_or(*args.number("learning_rate"));
}

double KohyaTranslator::base_rate() const {
  const std::vector<std::string> network_args = args.texts("network_args");
  const bool some_layers_differ = std::any_of(network_args.begin(), network_args.end(), [](const std::string& word) {
    return starts_with(word, "network_reg_lrs=");
  });
  if (transformer_rate() != 0) return transformer_rate();
  const double usual = *args.number("learning_rate");
  if (some_layers_differ) return usual > 0 ? usual : 1;
  if (args.has("network_train_unet_only")) return 0;
  for (const std::string& text : args.texts("text_encoder_lr")) {
    if (const double rate = parse_floating_point(text).value_or(0); rate > 0) return rate;
  }
  return usual;
}

void KohyaTranslator::optimizer() {
  refuse_second_name(*this);
  const auto [name, origin] = chosen_optimizer(*this);
  const std::string plain = plain_name(name);
  const OptimizerRow* row = find_optimizer(plain);
  if (row == nullptr || row->ours == nullptr) {
    std::vector<std::string> known;
    for (const OptimizerRow& candidate : kOptimizers) {
      if (candidate.ours != nullptr) known.emplace_back(candidate.theirs);
    }
    const std::string near = row != nullptr ? row->note : nearest(plain, known);
    out.refuse(origin, "expected one of " + shown_names() + ", got " + json_escape(name) +
                           (near.empty() ? "" : " (try " + near + ")"));
    return;
  }
  out.set("optimizer.name", row->ours, origin);
  if (*row->note != '\0') out.note(origin, Fate::kBecame, row->note);
  OptimizerArguments arguments(*this, row->ours);
  // What the packages have where ours differs.
  const std::string rule = row->ours;
  if (rule == "AdamW" || rule == "Adam" || rule == "AdamW8bit") {
    arguments.set("beta2", 0.999, origin);
    arguments.set("weight_decay", rule == "Adam" ? 0.0 : 0.01, origin);
  }
  if (plain == "sgdnesterov") {
    arguments.set("momentum", 0.9, origin);
    out.set("optimizer.nesterov", true, origin);
  }
  for (const std::string& word : args.texts("optimizer_args")) arguments.read(word);
  const TheirSetting rate = from(args.has("unet_lr") ? "unet_lr" : "learning_rate");
  if (!has_own_rate()) {
    out.note(rate, args.has("learning_rate") || args.has("unet_lr") ? Fate::kNoEffect : Fate::kSameResult,
             "there as here, Adafactor with relative_step chooses the rate itself");
  } else {
    const TheirSetting other = from(args.has("text_encoder_lr") ? "text_encoder_lr" : "learning_rate");
    out.set("optimizer.lr", base_rate(), base_rate() == transformer_rate() ? rate : other);
    if (base_rate() == 0) {
      out.refuse(rate, "expected a learning rate above 0 for something, got 0 for all: nothing would be trained");
    }
    if (args.has("unet_lr") && args.has("learning_rate") && !out.mentions(from("learning_rate"))) {
      out.note(from("learning_rate"), Fate::kSameResult, "--unet_lr takes its place");
    }
  }
  const double norm = *args.number("max_grad_norm");
  if (norm > 0) {
    out.set("training.max_norm", norm, from("max_grad_norm"));
  } else {
    out.set("training.max_norm", kUnlimitedNorm, from("max_grad_norm"));
    out.note(from("max_grad_norm"), Fate::kBecame, "gradients are not scaled");
  }
}

}  // namespace millrace
