// --lr_scheduler_type: a class of torch.optim.lr_scheduler, with its arguments in --lr_scheduler_args.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "compat/kohya_parts.h"
#include "compat/python_literal.h"
#include "config/number_text.h"

namespace millrace {
namespace {

enum class Argument { kWhole, kNumber, kFlag, kText, kWholeList };
struct ArgumentRow {
  const char* theirs;
  Argument kind;
  const char* ours = nullptr;  // an option of [lr_scheduler]; nullptr: read in another way
};
struct ClassRow {
  const char* name;  // theirs and ours
  std::vector<ArgumentRow> arguments;
  std::vector<std::string_view> required;
};

const std::vector<ClassRow>& classes() {
  using A = Argument;
  static const std::vector<ClassRow> kClasses = {
      {"CosineAnnealingLR", {{"T_max", A::kWhole, "t_max"}, {"eta_min", A::kNumber, "eta_min"}}, {"T_max"}},
      {"CosineAnnealingWarmRestarts",
       {{"T_0", A::kWhole, "t_0"}, {"T_mult", A::kWhole, "t_mult"}, {"eta_min", A::kNumber, "eta_min"}},
       {"T_0"}},
      {"StepLR", {{"step_size", A::kWhole, "step_size"}, {"gamma", A::kNumber, "gamma"}}, {"step_size"}},
      {"MultiStepLR", {{"milestones", A::kWholeList, "milestones"}, {"gamma", A::kNumber, "gamma"}}, {"milestones"}},
      {"ExponentialLR", {{"gamma", A::kNumber, "gamma"}}, {"gamma"}},
      {"OneCycleLR",
       {{"max_lr", A::kNumber, "max_lr"},
        {"total_steps", A::kWhole, "total_steps"},
        {"epochs", A::kWhole},
        {"steps_per_epoch", A::kWhole},
        {"pct_start", A::kNumber, "pct_start"},
        {"anneal_strategy", A::kText, "anneal_strategy"},
        {"cycle_momentum", A::kFlag, "cycle_momentum"},
        {"base_momentum", A::kNumber, "base_momentum"},
        {"max_momentum", A::kNumber, "max_momentum"},
        {"div_factor", A::kNumber, "div_factor"},
        {"final_div_factor", A::kNumber, "final_div_factor"},
        {"three_phase", A::kFlag, "three_phase"}},
       {"max_lr"}},
  };
  return kClasses;
}

class TorchSchedule {
 public:
  TorchSchedule(const KohyaTranslator& kohya, const ClassRow& row) : kohya_(kohya), row_(row) {}

  void read() {
    for (const std::string& word : kohya_.args.texts("lr_scheduler_args")) read_word(word);
    for (const std::string_view name : row_.required) {
      if (!given_.contains(std::string(name))) refuse(std::string(name) + "=VALUE", "none");
    }
    read_length();
  }

 private:
  void refuse(const std::string& expected, const std::string& got) const {
    kohya_.out.refuse(kohya_.from("lr_scheduler_args"),
                      "expected " + expected + " with --lr_scheduler_type " + row_.name + ", got " + got);
  }

  void read_word(const std::string& word) {
    const TheirSetting from = kohya_.from("lr_scheduler_args");
    const auto [name, value] = parse_python_argument(word);
    if (!value) return refuse("name=VALUE with a Python literal", json_escape(word));
    if (name == "last_epoch" && value->whole == -1) return;  // the beginning
    const auto argument = std::find_if(row_.arguments.begin(), row_.arguments.end(),
                                       [&](const ArgumentRow& each) { return name == each.theirs; });
    if (argument == row_.arguments.end()) {
      std::vector<std::string> known;
      for (const ArgumentRow& each : row_.arguments) known.emplace_back(each.theirs);
      const std::string near = nearest(name, known);
      return refuse("one of " + join(known, ", "), name + (near.empty() ? "" : " (try " + near + ")"));
    }
    if (value->kind == PythonLiteral::Kind::kNone) return;  // as if it were not there
    given_[name] = *value;
    const std::optional<TomlValue> ours = option_value(argument->kind, *value);
    if (!ours) return refuse(expected_of(argument->kind) + " for " + name, json_escape(word));
    if (argument->ours != nullptr) kohya_.out.set(std::string("lr_scheduler.") + argument->ours, *ours, from);
  }

  // As our option has it; none: it is of another kind.
  static std::optional<TomlValue> option_value(Argument kind, const PythonLiteral& value) {
    using Kind = TomlValue::Kind;
    switch (kind) {
      case Argument::kWhole:
        if (value.whole) return TomlValue{.kind = Kind::kInteger, .integer = *value.whole};
        break;
      case Argument::kNumber:
        if (value.kind == PythonLiteral::Kind::kNumber && std::isfinite(value.number)) {
          return TomlValue{.kind = Kind::kFloat, .floating = value.number};
        }
        break;
      case Argument::kFlag:
        if (value.kind == PythonLiteral::Kind::kBool) return TomlValue{.kind = Kind::kBool, .boolean = value.boolean};
        break;
      case Argument::kText:
        if (value.kind == PythonLiteral::Kind::kText) return TomlValue::of_text(value.text);
        break;
      case Argument::kWholeList: {
        if (value.kind != PythonLiteral::Kind::kTuple) break;
        TomlValue list = {.kind = Kind::kList};
        for (const PythonLiteral& item : value.items) {
          if (!item.whole) return std::nullopt;
          list.items.push_back({.kind = Kind::kInteger, .integer = *item.whole});
        }
        return list;
      }
    }
    return std::nullopt;
  }

  static std::string expected_of(Argument kind) {
    switch (kind) {
      case Argument::kWhole:
        return "a whole number";
      case Argument::kNumber:
        return "a number";
      case Argument::kFlag:
        return "True or False";
      case Argument::kText:
        return "a word in quotation marks";
      case Argument::kWholeList:
        return "whole numbers such as [10,20]";
    }
    return "";
  }

  // OneCycleLR's, from either form.
  void read_length() const {
    if (std::string_view(row_.name) != "OneCycleLR" || given_.contains("total_steps")) return;
    const auto epochs = given_.find("epochs"), steps = given_.find("steps_per_epoch");
    if (epochs == given_.end() || steps == given_.end() || !epochs->second.whole || !steps->second.whole) {
      return refuse("total_steps=N, or epochs=N and steps_per_epoch=N", "neither");
    }
    kohya_.out.set("lr_scheduler.total_steps", *epochs->second.whole * *steps->second.whole,
                   kohya_.from("lr_scheduler_args"));
  }

  const KohyaTranslator& kohya_;
  const ClassRow& row_;
  std::map<std::string, PythonLiteral> given_;
};

}  // namespace

void KohyaTranslator::torch_schedule() {
  const TheirSetting type_from = from("lr_scheduler_type");
  const std::string type = *args.text("lr_scheduler_type"), name = type.substr(type.rfind('.') + 1);
  const auto row =
      std::find_if(classes().begin(), classes().end(), [&](const ClassRow& each) { return name == each.name; });
  if (row == classes().end()) {
    std::vector<std::string> known;
    for (const ClassRow& each : classes()) known.emplace_back(each.name);
    const std::string near = nearest(name, known);
    out.refuse(type_from, "expected one of " + join(known, ", ") + ", got " + json_escape(type) +
                              (near.empty() ? "" : " (try " + near + ")"));
    return;
  }
  out.set("lr_scheduler.name", std::string(row->name), type_from);
  // Refused by sd-scripts, too.
  const std::string word = args.text("lr_warmup_steps").value_or("0");
  if (parse_floating_point(word).value_or(1) != 0) {
    out.refuse(from("lr_warmup_steps"), "expected 0 with --lr_scheduler_type, got " + json_escape(word));
  }
  for (const char* option : {"lr_scheduler", "lr_decay_steps", "lr_scheduler_num_cycles", "lr_scheduler_power",
                             "lr_scheduler_timescale", "lr_scheduler_min_lr_ratio"}) {
    if (args.has(option)) out.note(from(option), Fate::kNoEffect, "there as here, --lr_scheduler_type takes its place");
  }
  if (name == "OneCycleLR" && args.has("text_encoder_lr")) {
    out.note(type_from, Fate::kBecame, "there it gives every group max_lr, here all rates move in proportion");
  }
  TorchSchedule(*this, *row).read();
}

}  // namespace millrace
