#include "language/token_cache.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/file_claim.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/work_in_order.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTokensExtension = ".tokens";
constexpr int64_t kRowsOfPiece = 16;
constexpr int64_t kRowsToForget = 512 * kRowsOfPiece;
constexpr int64_t kComparedRows = 32;

// A row for the file, which has them in order.
struct EncodedRow {
  int64_t number = 0;  // RowSet::distinct()
  TokenSample tokens;
  LabelShift shift = LabelShift::kByOne;
};

class TokenCacheMaker {
 public:
  TokenCacheMaker(const TokenSource& source, const TokenCacheOptions& options, ThreadPool& pool)
      : source_(source), options_(options), pool_(pool) {
    nlohmann::ordered_json identity = {{"rows", checksum_text(source.rows->digest(pool))},
                                       {"encoders", nlohmann::ordered_json::array()}};
    if (source.encoders.empty()) identity["encoders"].push_back(source.encoder->identity());
    for (const auto& encoder : source.encoders) identity["encoders"].push_back(encoder->identity());
    identity_ = identity.dump();
    path_ = options.folder /
            (options.name + "-" + checksum_text(checksum64(identity_.data(), identity_.size())) + kTokensExtension);
  }

  std::shared_ptr<const TokenFile> open() {
    std::shared_ptr<const TokenFile> file;
    const auto is_there = [&] { return (file = read()) != nullptr; };
    make_file_once(path_, "tokenises the rows", options_.patience, is_there, [&](FileClaim& claim) {
      make(claim);
      file = std::make_shared<TokenFile>(path_, identity_, vocabulary_size(), pool_);
    });
    return file;
  }

 private:
  int64_t vocabulary_size() const { return source_.encoder->vocabulary_size(); }

  // Null where there is none, or none that can be used.
  std::shared_ptr<const TokenFile> read() {
    std::error_code ignored;
    if (!fs::exists(path_, ignored)) return nullptr;
    std::string problem;
    try {
      auto file = std::make_shared<TokenFile>(path_, identity_, vocabulary_size(), pool_);
      if (equals_rows(*file)) {
        log_info("tokens of ", with_thousands(source_.rows->size()), " rows: ", path_.string());
        return file;
      }
      problem = str("[", path_.string(), "] expected the tokens that the rows have, got others");
    } catch (const Error& error) {
      problem = error.what();
    }
    // Each process that finds it damaged says so once; the one that makes it again finds it a second time.
    if (!std::exchange(is_reported_, true)) log_warning(problem, ": the rows are tokenised again");
    return nullptr;
  }

  // Rows here and there: another version of the program might make other tokens of them.
  bool equals_rows(const TokenFile& file) const {
    const RowSet& rows = *source_.rows;
    if (file.size() != rows.num_distinct()) return false;
    const int64_t count = std::min(kComparedRows, rows.size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = i * rows.size() / count;
      TokenSample expected;
      try {
        expected = source_.sample(row);
      } catch (const DataError&) {
        // None are kept of bad rows.
      }
      const LabelShift shift = source_.encoder_of(row).label_shift();
      const TokenSample found = file.find(rows.distinct(row), shift).value_or(TokenSample());
      if (found.tokens != expected.tokens || found.labels != expected.labels) return false;
    }
    return true;
  }

  std::vector<EncodedRow> encode(int64_t begin, int64_t end) const {
    const RowSet& rows = *source_.rows;
    std::vector<EncodedRow> encoded;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t number = rows.distinct(row);
      if (row > 0 && rows.distinct(row - 1) == number) continue;
      try {
        encoded.push_back({number, source_.sample(row), source_.encoder_of(row).label_shift()});
      } catch (const DataError& error) {
        source_.bad_rows->add(row, error.what());
      }
    }
    return encoded;
  }

  void encode_all(TokenFileWriter& writer) const {
    const RowSet& rows = *source_.rows;
    const auto prepare = [&](int64_t begin, int64_t end) {
      if (begin % kRowsToForget == 0) rows.forget_read();
      return [this, begin, end, held = rows.hold(begin, end)] { return encode(begin, end); };
    };
    work_in_order(pool_, rows.size(), kRowsOfPiece, prepare, [&](const std::vector<EncodedRow>& encoded) {
      for (const EncodedRow& row : encoded) {
        while (writer.size() < row.number) writer.add({}, row.shift);
        writer.add(row.tokens, row.shift);
      }
    });
    while (writer.size() < rows.num_distinct()) writer.add({}, LabelShift::kByOne);
  }

  void make(FileClaim& claim) const {
    const double start = now_seconds();
    TokenFileWriter writer(claim.temporary());
    encode_all(writer);
    writer.finish(identity_);
    std::error_code ignored;  // the size is for the log alone
    const auto bytes = fs::file_size(claim.temporary(), ignored);
    claim.commit();
    log_info("tokenised ", with_thousands(writer.size()), " rows, ", with_thousands(writer.num_tokens()),
             " tokens, in ", format_double("%.1f", now_seconds() - start), " s: ", path_.string(), ", ",
             human_bytes(bytes));
    if (options_.is_only_one) remove_others();
  }

  void remove_others() const {
    std::error_code ignored;
    for (fs::directory_iterator entry(options_.folder, ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
      const std::string name = entry->path().filename().string();
      if (entry->path() == path_ || !starts_with(name, options_.name + "-") || !ends_with(name, kTokensExtension))
        continue;
      std::error_code failed;
      if (fs::remove(entry->path(), failed)) log_info("removed the tokens of earlier rows: ", entry->path().string());
    }
  }

  const TokenSource& source_;
  const TokenCacheOptions& options_;
  ThreadPool& pool_;
  std::string identity_;
  fs::path path_;
  bool is_reported_ = false;
};

}  // namespace

std::shared_ptr<const TokenFile> open_token_cache(const TokenSource& source, const TokenCacheOptions& options,
                                                  ThreadPool& pool) {
  MILLRACE_CHECK(source.kept == nullptr);
  try {
    return TokenCacheMaker(source, options, pool).open();
  } catch (const StorageError& error) {
    log_warning(error.what(), ": tokens are not kept, and rows are tokenised as they come");
    return nullptr;
  }
}

}  // namespace millrace
