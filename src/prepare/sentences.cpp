#include "prepare/sentences.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/random_source.h"
#include "base/text.h"
#include "base/text_lines.h"

namespace millrace {
namespace {

constexpr size_t kMaxBlanks = 2;
using Words = std::vector<size_t>;  // numbers in the list, one for each blank

size_t num_blanks(std::string_view pattern) {
  size_t count = 0;
  for (size_t at = 0; (at = pattern.find("{}", at)) != std::string_view::npos; at += 2) ++count;
  return count;
}

std::string filled(const std::string& pattern, const std::vector<std::string>& words) {
  std::string text;
  size_t at = 0;
  for (const std::string& word : words) {
    const size_t blank = pattern.find("{}", at);
    if (blank == std::string::npos) break;
    text += pattern.substr(at, blank - at) + word;
    at = blank + 2;
  }
  return text + pattern.substr(at);
}

std::string row(const SentenceList& list, const SentencePattern& pattern, const Words& words) {
  std::vector<std::string> said, answered;
  for (const size_t word : words) {
    said.push_back(list.words[word].first);
    answered.push_back(list.words[word].second);
  }
  const auto message = [](const char* role, const std::string& content) {
    return nlohmann::ordered_json{{"role", role}, {"content", content}};
  };
  const nlohmann::ordered_json messages = nlohmann::ordered_json::array(
      {message("user", filled(pattern.question, said)), message("assistant", filled(pattern.answer, answered))});
  return nlohmann::ordered_json{{"messages", messages}}.dump();
}

// The next words for a pattern: of pairs and single words each in turn.
class WordSupply {
 public:
  WordSupply(std::vector<Words> pairs, std::vector<Words> singles)
      : supplies_{std::vector<Words>{Words{}}, std::move(singles), std::move(pairs)} {}

  const Words& next(size_t blanks) {
    const std::vector<Words>& supply = supplies_[blanks];
    return supply[used_[blanks]++ % supply.size()];
  }

 private:
  std::array<std::vector<Words>, kMaxBlanks + 1> supplies_;
  std::array<size_t, kMaxBlanks + 1> used_{};
};

std::vector<std::string> rows_of(const SentenceList& list, const std::vector<SentencePattern>& patterns, int64_t count,
                                 WordSupply supply, RandomSource& random) {
  std::vector<std::string> rows;
  for (int64_t i = 0; i < count; ++i) {
    const SentencePattern& pattern = patterns[static_cast<size_t>(i) % patterns.size()];
    rows.push_back(row(list, pattern, supply.next(num_blanks(pattern.question))));
  }
  random.shuffle(rows);
  return rows;
}

}  // namespace

SentenceList parse_sentence_list(std::string_view text, const std::string& place) {
  SentenceList list;
  std::string section;
  for (const TextLine& line : parse_text_lines(text, place, {.comments = true})) {
    const auto fail = [&](const std::string& expected) {
      throw DataError(str("[", place, ":", line.number, "] expected ", expected, ", got \"", line.text, "\""));
    };
    if (line.text.front() == '[') {
      section = line.text;
      if (section != "[words]" && section != "[patterns]" && section != "[held out patterns]") {
        fail("[words], [patterns] or [held out patterns]");
      }
    } else if (section == "[words]") {
      const size_t equals = line.text.find('=');
      if (equals == std::string::npos) fail("a word = what stands for it");
      list.words.emplace_back(trim(line.text.substr(0, equals)), trim(line.text.substr(equals + 1)));
      if (list.words.back().first.empty() || list.words.back().second.empty()) fail("a word = what stands for it");
    } else if (section.empty()) {
      fail("a section, such as [words]");
    } else {
      const size_t arrow = line.text.find(" => ");
      SentencePattern pattern{line.text, ""};
      if (arrow != std::string::npos) pattern = {line.text.substr(0, arrow), line.text.substr(arrow + 4)};
      const size_t blanks = num_blanks(pattern.question);
      if (arrow == std::string::npos) pattern.answer = blanks == 2 ? "{}{}" : "{}";
      if (blanks > kMaxBlanks || (arrow == std::string::npos && blanks == 0) || num_blanks(pattern.answer) > blanks) {
        fail("a sentence with at most two blanks {}, and no more of them in its answer behind =>");
      }
      (section == "[patterns]" ? list.patterns : list.held_out_patterns).push_back(std::move(pattern));
    }
  }
  return list;
}

SentenceRows make_sentence_rows(const SentenceList& list, const SentenceOptions& options, const std::string& place) {
  std::vector<Words> pairs, singles;
  for (size_t a = 0; a < list.words.size(); ++a) {
    singles.push_back({a});
    for (size_t b = 0; b < list.words.size(); ++b) {
      if (a != b) pairs.push_back({a, b});
    }
  }
  const auto held = static_cast<int64_t>(pairs.size() / 10), rest = static_cast<int64_t>(pairs.size()) - held;
  const auto has_blanks = [](const SentencePattern& pattern) { return num_blanks(pattern.question) > 0; };
  const bool needs_words = std::any_of(list.patterns.begin(), list.patterns.end(), has_blanks) ||
                           std::any_of(list.held_out_patterns.begin(), list.held_out_patterns.end(), has_blanks);
  const bool has_too_few = needs_words && (held < options.held_out || rest < options.count);
  if (list.patterns.empty() || list.held_out_patterns.empty() || has_too_few) {
    throw DataError(str("[", place, "] expected patterns, held-out patterns, and words with pairs for ", options.count,
                        " rows and a tenth of all pairs for ", options.held_out, " more, got ", list.patterns.size(),
                        ", ", list.held_out_patterns.size(), " and ", pairs.size(), " pairs"));
  }
  PhiloxSource random(random_stream(options.seed, RandomPurpose::kShuffle, 0, 0));
  random.shuffle(pairs);
  random.shuffle(singles);
  const std::vector<Words> held_pairs(pairs.begin(), pairs.begin() + held);
  const std::vector<Words> trained_pairs(pairs.begin() + held, pairs.end());
  SentenceRows rows;
  rows.train = rows_of(list, list.patterns, options.count, {trained_pairs, singles}, random);
  rows.held_out = rows_of(list, list.held_out_patterns, options.held_out, {held_pairs, singles}, random);
  return rows;
}

void write_sentence_rows(const SentenceRows& rows, const std::filesystem::path& folder) {
  create_folders(folder);
  write_file_atomically(folder / "train.jsonl", join(rows.train, "\n") + "\n");
  write_file_atomically(folder / "held_out.jsonl", join(rows.held_out, "\n") + "\n");
}

}  // namespace millrace
