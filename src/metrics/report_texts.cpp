#include "metrics/report_texts.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "metrics/answer_record.h"
#include "metrics/step_files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTextBytes = uint64_t{4} << 20;
constexpr size_t kMaxSteps = 40;      // columns of time
constexpr size_t kShownAnswers = 20;  // others are folded away
constexpr size_t kMaxAnswerBytes = 2000;

std::string shortened(std::string text) {
  if (text.size() <= kMaxAnswerBytes) return text;
  size_t end = kMaxAnswerBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return text.substr(0, end) + "…";
}

using StepFile = std::pair<int64_t, fs::path>;

// In the order of the steps.
std::vector<StepFile> text_files(const fs::path& folder) {
  std::vector<StepFile> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".txt") continue;
    const std::optional<int64_t> step = parse_step_name(entry.path().stem().string());
    if (step) files.emplace_back(*step, entry.path());
  }
  std::sort(files.begin(), files.end());
  while (files.size() > kMaxSteps) files = every_other(files);
  return files;
}

// "> prompt\nanswer\n\n" for each prompt in turn; "" for what is not found.
std::vector<std::string> answers_in(const std::string& text, const std::vector<std::string>& prompts) {
  std::vector<std::string> answers;
  size_t at = 0;
  const auto head = [&](size_t i) { return "> " + prompts[i] + "\n"; };
  for (size_t i = 0; i < prompts.size(); ++i) {
    const size_t begin = text.find(head(i), at);
    if (begin == std::string::npos) {
      answers.emplace_back();
      continue;
    }
    at = begin + head(i).size();
    const size_t end = i + 1 < prompts.size() ? text.find("\n\n" + head(i + 1), at) : std::string::npos;
    answers.emplace_back(trim(text.substr(at, end == std::string::npos ? end : end - at)));
  }
  return answers;
}

}  // namespace

std::string report_texts(const fs::path& samples, const std::vector<std::string>& prompts) {
  if (prompts.empty()) return "";
  std::map<int64_t, std::vector<std::string>> by_step;
  for (const auto& [step, path] : text_files(samples)) {
    try {
      const std::string text = read_file(path, kMaxTextBytes);
      if (is_valid_utf8(text)) by_step[step] = answers_in(text, prompts);
    } catch (const StorageError&) {  // deleted in between, or far too long
    }
  }
  if (by_step.empty()) return "";
  std::string html = "<h2>Texts through time</h2>\n";
  for (size_t i = 0; i < prompts.size(); ++i) {
    html +=
        str("<details class=texts", i < 3 ? " open" : "", "><summary>", html_escape(prompts[i]), "</summary><table>\n");
    for (const auto& [step, answers] : by_step) {
      html +=
          str("<tr><th>step ", with_thousands(step), "</th><td>", html_escape(shortened(answers[i])), "</td></tr>\n");
    }
    html += "</table></details>\n";
  }
  return html;
}

std::string report_answers(const fs::path& answers_json) {
  const std::optional<AnswerRecord> record = read_answer_record(answers_json);
  if (!record || record->questions.empty()) return "";
  const size_t total = record->questions.size();
  const bool has_before = record->has_before();
  std::string html = str("<h2>Answers at step ", with_thousands(record->step), "</h2>\n<p>",
                         record->match == AnswerMatch::kExact ? "Exactly right: " : "Right at the beginning: ");
  if (has_before) html += str(record->right_before(), " of ", total, " before training, ");
  html += str("<b>", record->right_after(), " of ", total, "</b>", has_before ? " after" : "", ".</p>\n");
  const std::string head =
      str("<table><tr><th>question</th>", has_before ? "<th>before</th><th>after</th>" : "<th>answer</th>",
          "<th>expected</th></tr>\n");
  html += "<details class=texts open><summary>questions that were not trained</summary>" + head;
  for (size_t i = 0; i < total; ++i) {
    const AnsweredQuestion& one = record->questions[i];
    if (i == kShownAnswers) {
      html += str("</table></details><details class=texts><summary>", total - i, " more</summary>", head);
    }
    html += str("<tr><td>", html_escape(shortened(one.question)), "</td>");
    if (has_before) html += str("<td>", html_escape(shortened(*one.before)), "</td>");
    html += str("<td>", record->is_right(one, one.after) ? "✓ " : "✗ ", html_escape(shortened(one.after)), "</td><td>",
                html_escape(shortened(one.expected)), "</td></tr>\n");
  }
  return html + "</table></details>\n";
}

}  // namespace millrace
