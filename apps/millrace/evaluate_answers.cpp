#include "evaluate_answers.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "comm/world.h"
#include "metrics/answer_record.h"
#include "parallel/run_device.h"
#include "prepare/emoji/utf8.h"
#include "progress_bar.h"
#include "tasks/task_table.h"
#include "train/run_report.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Questions = std::vector<TextSampler::Question>;

// Columns of a terminal, nearly: emoji and East Asian characters are two wide.
int width_of(char32_t c) {
  if (c == 0x200D || (c >= 0xFE00 && c <= 0xFE0F)) return 0;
  const bool wide = c >= 0x1F000 || (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xFFDC) ||
                    (c >= 0x23E9 && c <= 0x23F3) || (c >= 0x2614 && c <= 0x27BF) || (c >= 0x2B1B && c <= 0x2B55);
  return wide ? 2 : 1;
}

// One line of exactly so many columns.
std::string column(const std::string& text, int columns) {
  std::string line;
  int used = 0;
  const std::u32string characters = decode_utf8(text);
  for (size_t i = 0; i < characters.size(); ++i) {
    const char32_t c = characters[i] < 0x20 ? U' ' : characters[i];
    const bool is_last = i + 1 == characters.size();
    if (used + width_of(c) > columns - (is_last ? 0 : 1)) {
      line += "…";
      ++used;
      break;
    }
    line += encode_utf8(c);
    used += width_of(c);
  }
  return line + std::string(static_cast<size_t>(std::max(columns - used, 0)), ' ');
}

Questions questions_of(const TextSampler& sampler, const AnswerOptions& options) {
  Questions questions = sampler.questions();
  const auto limit = static_cast<size_t>(options.max_questions);
  if (limit > 0 && questions.size() > limit) questions.resize(limit);
  return questions;
}

std::vector<std::string> answers_of(TextSampler& sampler, const Questions& questions, const std::string& what) {
  std::vector<std::string> answers;
  ProgressBar bar(what);
  for (const TextSampler::Question& question : questions) {
    answers.push_back(sampler.answer(question.turns, {.from_rows = true}, static_cast<int64_t>(answers.size())));
    bar.update(static_cast<int64_t>(answers.size()), static_cast<int64_t>(questions.size()));
  }
  bar.finish();
  return answers;
}

void print(const AnswerRecord& record) {
  constexpr int kQuestion = 44, kAnswer = 36;
  constexpr size_t kShown = 12;
  const bool has_before = record.has_before();
  const auto line = [&](const std::string& question, const std::string& before, const std::string& after) {
    std::printf("%s  %s%s\n", column(question, kQuestion).c_str(),
                has_before ? (column(before, kAnswer) + "  ").c_str() : "", after.c_str());
  };
  line("question", "before", has_before ? "after" : "answer");
  for (size_t i = 0; i < std::min(kShown, record.questions.size()); ++i) {
    const AnsweredQuestion& one = record.questions[i];
    const std::string after = column(one.after, kAnswer);
    line(one.question, one.before.value_or(""),
         record.is_right(one, one.after) ? one.after : str(after, " (expected ", one.expected, ")"));
  }
  if (record.questions.size() > kShown) std::printf("... and %zu more\n", record.questions.size() - kShown);
  const size_t total = record.questions.size();
  const char* right = record.match == AnswerMatch::kExact ? "exactly right" : "right at the beginning";
  if (has_before) std::printf("%s before: %lld of %zu\n", right, static_cast<long long>(record.right_before()), total);
  std::printf("%s%s: %lld of %zu\n", right, has_before ? " after" : "", static_cast<long long>(record.right_after()),
              total);
}

}  // namespace

void evaluate_answers(const RunConfig& config, const AnswerOptions& options) {
  const MakeTextSampler make = text_sampler_of_task(config);
  if (make == nullptr) throw ConfigError("[evaluate --answers] expected a language model, got one of pictures");
  const World world = detect_world();
  if (world.size > 1) {
    throw ConfigError(str("[evaluate --answers] expected one rank, got ", world.size,
                          " (without --answers, all ranks compute the loss)"));
  }
  const torch::Device device = device_of_rank(config.training.device, world);
  std::optional<OpenRunWeights> run;
  if (!options.run.empty()) run = open_run_weights(options.run, config, options.step, options.which);
  std::unique_ptr<TextSampler> sampler;
  std::vector<std::string> before;
  const bool has_before = run && !config.checkpoint.initial_load_path.empty();
  if (has_before) {
    sampler = make(config, nullptr, device);
    before = answers_of(*sampler, questions_of(*sampler, options), "answers before training");
    sampler.reset();
  }
  sampler = make(config, run ? &*run : nullptr, device);
  const Questions questions = questions_of(*sampler, options);
  const std::vector<std::string> after = answers_of(*sampler, questions, "answers");
  AnswerRecord record;
  record.step = run ? run->step : 0;
  if (options.by_start) record.match = AnswerMatch::kStart;
  for (size_t i = 0; i < questions.size(); ++i) {
    record.questions.push_back({questions[i].turns.back(), questions[i].answer,
                                has_before ? std::optional(before[i]) : std::nullopt, after[i]});
  }
  if (options.json) {
    std::printf("%s", to_json(record).c_str());
  } else {
    print(record);
  }
  if (!run) return;
  write_file_atomically(options.run / "answers.json", to_json(record));
  std::unique_ptr<RunConfig> moved = config.clone();
  moved->job.dump_folder = options.run.string();
  update_report(*moved, device, 1, /*finished=*/true);
}

}  // namespace millrace
