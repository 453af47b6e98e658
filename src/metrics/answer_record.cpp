#include "metrics/answer_record.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "formats/json.h"

namespace millrace {

bool AnswerRecord::is_right(const AnsweredQuestion& one, const std::string& answer) const {
  return match == AnswerMatch::kExact ? answer == one.expected : starts_with(answer, one.expected);
}

int64_t AnswerRecord::right_before() const {
  return std::count_if(questions.begin(), questions.end(),
                       [&](const auto& one) { return one.before && is_right(one, *one.before); });
}

int64_t AnswerRecord::right_after() const {
  return std::count_if(questions.begin(), questions.end(), [&](const auto& one) { return is_right(one, one.after); });
}

std::string to_json(const AnswerRecord& record) {
  nlohmann::ordered_json json = {{"step", record.step},
                                 {"match", record.match == AnswerMatch::kExact ? "exact" : "start"},
                                 {"questions", record.questions.size()}};
  if (record.has_before()) json["right_before"] = record.right_before();
  json["right"] = record.right_after();
  auto& list = json["answers"] = nlohmann::ordered_json::array();
  for (const AnsweredQuestion& one : record.questions) {
    nlohmann::ordered_json item = {{"question", one.question}, {"expected", one.expected}};
    if (one.before) item["before"] = *one.before;
    item["answer"] = one.after;
    list.push_back(std::move(item));
  }
  // Answers of a byte-level vocabulary may end within a character.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::optional<AnswerRecord> read_answer_record(const std::filesystem::path& path) {
  constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
  if (!std::filesystem::exists(path)) return std::nullopt;
  try {
    const auto json = parse_ordered_json<DataError>(read_file(path, kMaxBytes), path.string());
    AnswerRecord record;
    record.step = json.at("step").get<int64_t>();
    if (json.at("match") == "start") record.match = AnswerMatch::kStart;
    for (const auto& item : json.at("answers")) {
      AnsweredQuestion one{item.at("question"), item.at("expected"), std::nullopt, item.at("answer")};
      if (item.contains("before")) one.before = item.at("before").get<std::string>();
      record.questions.push_back(std::move(one));
    }
    return record;
  } catch (const Error&) {
  } catch (const nlohmann::json::exception&) {
  }
  return std::nullopt;
}

}  // namespace millrace
