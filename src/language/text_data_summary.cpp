#include "language/text_data_summary.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/work_in_order.h"

namespace millrace {
namespace {

constexpr int64_t kRowsAtOnce = 64;
constexpr size_t kMaxProblems = 5;

struct RowCounts {
  int64_t row = 0, tokens = 0, trained = 0, uncut = 0;
  std::string problem;  // empty: usable
};

RowCounts count(const TokenSource& source, const TokenSource& uncut, int64_t row) {
  RowCounts counts{.row = row, .problem = ""};
  try {
    const TokenSample sample = source.sample(row);
    const LabelShift shift = source.encoder->label_shift();
    counts.tokens = counts.uncut = static_cast<int64_t>(sample.tokens.size());
    for (size_t token = 0; token < sample.tokens.size(); ++token) {
      counts.trained += is_trained(sample, token, shift) ? 1 : 0;
    }
    if (&uncut != &source) counts.uncut = static_cast<int64_t>(uncut.sample(row).tokens.size());
  } catch (const DataError& error) {
    counts.problem = error.what();
  }
  return counts;
}

void add_example(const TokenSource& source, int64_t row, TextDataSummary& summary) {
  summary.example_place = source.rows->place(row);
  summary.example = shown_pieces(source.sample(row), *source.encoder);
}

}  // namespace

TextDataSummary summarise_rows(const TokenSource& source, const TokenSource& uncut, ThreadPool& pool) {
  const RowSet& rows = *source.rows;
  TextDataSummary summary;
  summary.rows = rows.size();
  std::vector<int64_t> lengths;
  const auto prepare = [&](int64_t begin, int64_t end) {
    return [&, begin, end, held = source.hold(begin, end)] {
      std::vector<RowCounts> counts;
      for (int64_t row = begin; row < end; ++row) counts.push_back(count(source, uncut, row));
      return counts;
    };
  };
  work_in_order(pool, rows.size(), kRowsAtOnce, prepare, [&](const std::vector<RowCounts>& piece) {
    for (const RowCounts& counts : piece) {
      if (!counts.problem.empty()) {
        ++summary.bad_rows;
        if (summary.problems.size() < kMaxProblems) summary.problems.push_back(counts.problem);
        continue;
      }
      if (lengths.empty()) add_example(source, counts.row, summary);
      lengths.push_back(counts.uncut);
      summary.tokens += counts.tokens;
      summary.trained_tokens += counts.trained;
      summary.untrained_rows += counts.trained == 0 ? 1 : 0;
      summary.truncated_rows += counts.tokens < counts.uncut ? 1 : 0;
      if (counts.uncut > summary.longest) {
        summary.longest = counts.uncut;
        summary.longest_place = rows.place(counts.row);
      }
    }
  });
  if (lengths.empty()) return summary;
  std::sort(lengths.begin(), lengths.end());
  summary.shortest = lengths.front();
  summary.median = lengths[lengths.size() / 2];
  return summary;
}

std::string summary_text(const TextDataSummary& summary, bool colours) {
  const auto line = [](const char* name, const std::string& value) {
    return std::string(name) + std::string(12 - std::string(name).size(), ' ') + value + "\n";
  };
  const double share =
      100.0 * static_cast<double>(summary.trained_tokens) / static_cast<double>(std::max<int64_t>(1, summary.tokens));
  std::string text = line("rows", with_thousands(summary.rows));
  if (summary.bad_rows > 0) text += line("unusable", with_thousands(summary.bad_rows));
  for (const std::string& problem : summary.problems) text += "  " + problem + "\n";
  text += line("tokens", with_thousands(summary.tokens));
  text += line("of a row", str(summary.shortest, " to ", summary.longest, ", ", summary.median, " in the median"));
  if (summary.longest > 0) text += line("longest", summary.longest_place);
  text += line("truncated", str(with_thousands(summary.truncated_rows), " rows"));
  text += line("trained", str(format_double("%.1f", share), " % of the tokens"));
  if (summary.untrained_rows > 0) text += line("untrained", str(with_thousands(summary.untrained_rows), " rows"));
  if (summary.example.empty()) return text;
  text += str("\n", summary.example_place, colours ? ", what is trained in green:\n" : ", what is trained in 【】:\n");
  return text + shown_text(summary.example, colours) + "\n";
}

std::string summary_json(const TextDataSummary& summary) {
  nlohmann::ordered_json json = {{"rows", summary.rows},
                                 {"bad_rows", summary.bad_rows},
                                 {"problems", summary.problems},
                                 {"tokens", summary.tokens},
                                 {"trained_tokens", summary.trained_tokens},
                                 {"untrained_rows", summary.untrained_rows},
                                 {"truncated_rows", summary.truncated_rows},
                                 {"shortest", summary.shortest},
                                 {"median", summary.median},
                                 {"longest", summary.longest},
                                 {"longest_place", summary.longest_place},
                                 {"example_place", summary.example_place},
                                 {"example", nlohmann::ordered_json::array()}};
  for (const ShownPiece& piece : summary.example) {
    json["example"].push_back({{"text", piece.text}, {"trained", piece.is_trained}});
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace millrace
