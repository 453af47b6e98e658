// The learning rate through the run.
#include <algorithm>
#include <array>

#include "base/text.h"
#include "compat/kohya_parts.h"
#include "compat/python_literal.h"
#include "config/number_text.h"

namespace millrace {
namespace {

struct ScheduleRow {
  const char* name;  // theirs and ours
  bool warmup = false, cycles = false, power = false, timescale = false, min_ratio = false, decay = false;
};
constexpr std::array kSchedules = std::to_array<ScheduleRow>({
    {.name = "constant"},
    {.name = "constant_with_warmup", .warmup = true},
    {.name = "linear", .warmup = true},
    {.name = "cosine", .warmup = true},
    {.name = "cosine_with_restarts", .warmup = true, .cycles = true},
    {.name = "polynomial", .warmup = true, .power = true},
    {.name = "inverse_sqrt", .warmup = true, .timescale = true},
    {.name = "cosine_with_min_lr", .warmup = true, .cycles = true, .min_ratio = true},
    {.name = "warmup_stable_decay", .warmup = true, .cycles = true, .min_ratio = true, .decay = true},
    {.name = "piecewise_constant"},
});

// "100", "0.1" or "5%" as lr_scheduler.warmup_steps takes it; nullopt: none of these.
std::optional<TomlValue> steps_or_part(const std::string& word) {
  if (const auto whole = parse_integer(word)) return TomlValue{.kind = TomlValue::Kind::kInteger, .integer = *whole};
  if (ends_with(word, "%") && parse_floating_point(word.substr(0, word.size() - 1))) return TomlValue::of_text(word);
  const auto part = parse_floating_point(word);
  if (part && *part < 1) return TomlValue{.kind = TomlValue::Kind::kFloat, .floating = *part};
  return std::nullopt;
}

bool is_zero(const std::string& word) {
  return parse_floating_point(word).value_or(1) == 0;
}

struct Schedule {
  const KohyaTranslator& kohya;
  const ScheduleRow& row;

  void steps(const char* theirs, const char* ours, bool read) const {
    const std::string word = kohya.args.text(theirs).value_or("0");
    const TheirSetting from = kohya.from(theirs);
    const auto value = steps_or_part(word);
    if (!value) {
      kohya.out.refuse(from, std::string("expected a whole number, a part below 1 or a percentage for --") + theirs +
                                 ", got " + json_escape(word));
    } else if (read) {
      kohya.out.set(ours, *value, from);
    } else if (!is_zero(word)) {
      refuse_unread(theirs);
    }
  }

  // Refused by sd-scripts, too.
  void refuse_unread(const char* theirs) const {
    kohya.out.refuse(kohya.from(theirs),
                     std::string("expected 0 with --lr_scheduler ") + row.name + ", which has no such option, got " +
                         json_escape(*kohya.args.text(theirs)) +
                         (std::string(theirs) == "lr_warmup_steps" && std::string(row.name) == "constant"
                              ? " (try --lr_scheduler constant_with_warmup)"
                              : ""));
  }

  void number(const char* theirs, const char* ours, bool read) const {
    const auto value = kohya.args.number(theirs);
    if (read && value) {
      kohya.out.set(ours, *value, kohya.from(theirs));
    } else if (kohya.args.has(theirs)) {
      kohya.out.note(kohya.from(theirs), Fate::kNoEffect,
                     std::string("there as here, the schedule ") + row.name + " does not read it");
    }
  }
};

// The arguments that schedules of ours take from --lr_scheduler_args.
void schedule_args(const KohyaTranslator& kohya, const std::string& schedule) {
  const TheirSetting from = kohya.from("lr_scheduler_args");
  for (const std::string& word : kohya.args.texts("lr_scheduler_args")) {
    const auto [name, value] = parse_python_argument(word);
    using PythonKind = PythonLiteral::Kind;
    if (schedule == "piecewise_constant" && name == "step_rules" && value && value->kind == PythonKind::kText) {
      kohya.out.set("lr_scheduler.step_rules", value->text, from);
    } else if (schedule == "polynomial" && name == "lr_end" && value && value->kind == PythonKind::kNumber) {
      kohya.out.set("lr_scheduler.lr_end", value->number, from);
    } else {
      kohya.out.refuse(from,
                       "expected lr_end=NUMBER with --lr_scheduler polynomial, or "
                       "step_rules='1:10,0.1:20,0.005' with piecewise_constant, got " +
                           json_escape(word) + " with " + schedule);
    }
  }
}

}  // namespace

void KohyaTranslator::schedule() {
  const TheirSetting name_from = from("lr_scheduler");
  const std::string name = *args.text("lr_scheduler");
  const auto row = std::find_if(kSchedules.begin(), kSchedules.end(),
                                [&](const ScheduleRow& candidate) { return name == candidate.name; });
  const TomlValue* optimizer = out.find("optimizer.name");
  const bool is_relative = optimizer != nullptr && optimizer->text == "Adafactor" && !out.has("optimizer.lr");
  if (is_relative || (optimizer != nullptr && ends_with(optimizer->text, "ScheduleFree"))) {
    out.set("lr_scheduler.name", "constant", {.name = "--optimizer_type", .value = optimizer->text, .place = ""});
    for (const char* option : {"lr_scheduler", "lr_scheduler_type", "lr_scheduler_args", "lr_warmup_steps",
                               "lr_decay_steps", "lr_scheduler_num_cycles"}) {
      if (!args.has(option)) continue;
      out.note(from(option), Fate::kNoEffect,
               is_relative ? "there as here, Adafactor with relative_step has a schedule of its own"
                           : "there as here, this optimizer takes no schedule");
    }
    return;
  }
  if (args.has("lr_scheduler_type")) return torch_schedule();
  if (row == kSchedules.end()) {
    std::vector<std::string> known;
    for (const ScheduleRow& candidate : kSchedules) known.emplace_back(candidate.name);
    const std::string near = nearest(name, known);
    out.refuse(name_from, "expected one of " + join(known, ", ") + ", got " + json_escape(name) +
                              (near.empty() ? "" : " (try " + near + ")"));
    return;
  }
  out.set("lr_scheduler.name", name, name_from);
  const Schedule schedule{*this, *row};
  schedule.steps("lr_warmup_steps", "lr_scheduler.warmup_steps", row->warmup);
  schedule.steps("lr_decay_steps", "lr_scheduler.decay_steps", row->decay);
  schedule.number("lr_scheduler_num_cycles", "lr_scheduler.num_cycles", row->cycles);
  schedule.number("lr_scheduler_power", "lr_scheduler.power", row->power);
  schedule.number("lr_scheduler_min_lr_ratio", "lr_scheduler.min_lr_factor", row->min_ratio);
  if (row->timescale && args.integer("lr_scheduler_timescale")) {
    out.set("lr_scheduler.timescale", *args.integer("lr_scheduler_timescale"), from("lr_scheduler_timescale"));
  } else if (args.has("lr_scheduler_timescale")) {
    schedule.number("lr_scheduler_timescale", "", false);
  }
  if (name == "cosine_with_min_lr" && !args.number("lr_scheduler_min_lr_ratio")) {
    out.refuse(from("lr_scheduler_min_lr_ratio"), "expected a number with --lr_scheduler cosine_with_min_lr, got none");
  }
  schedule_args(*this, name);
}

}  // namespace millrace
