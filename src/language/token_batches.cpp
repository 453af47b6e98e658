#include "language/token_batches.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/work_in_order.h"
#include "data/sample_digest.h"
#include "language/token_file.h"

namespace millrace {
namespace {

constexpr int64_t kRowsTokenised = 16, kLengthsFound = 8192;

template <typename T>
std::vector<T> part(const std::vector<T>& values, int64_t begin, int64_t length) {
  return {values.begin() + begin, values.begin() + begin + length};
}

// What the sample is called in a digest: its first token's row and place.
uint64_t id_of(const TextPieces& pieces) {
  if (pieces.empty()) return 0;
  return static_cast<uint64_t>(pieces.front().row) + (static_cast<uint64_t>(pieces.front().begin) << 40);
}

void shift_labels(std::vector<TokenDocument>& documents) {
  for (size_t i = 0; i < documents.size(); ++i) {
    std::vector<int32_t>& labels = documents[i].tokens.labels;
    labels.erase(labels.begin());
    labels.push_back(i + 1 < documents.size() ? documents[i + 1].tokens.labels.front() : kMaskedLabel);
  }
}

}  // namespace

const RowEncoder& TokenSource::encoder_of(int64_t row) const {
  return encoders.empty() ? *encoder : *encoders[rows->part(row)];
}

TokenSample TokenSource::sample(int64_t row) const {
  const RowEncoder& row_encoder = encoder_of(row);
  if (kept != nullptr) {
    if (auto found = kept->find(rows->distinct(row), row_encoder.label_shift())) return *std::move(found);
  }
  return row_encoder.encode(rows->row(row), rows->place(row));
}

int64_t TokenSource::length(int64_t row) const {
  const int64_t found = kept == nullptr ? 0 : kept->length(rows->distinct(row));
  return found > 0 ? found : static_cast<int64_t>(sample(row).tokens.size());
}

std::vector<int64_t> TokenSource::lengths(ThreadPool& pool) const {
  std::vector<int64_t> lengths(static_cast<size_t>(rows->size()));
  const auto prepare = [&](int64_t begin, int64_t end) {
    return [this, &lengths, begin, end, held = hold(begin, end)] {
      for (int64_t row = begin; row < end; ++row) {
        try {
          lengths[static_cast<size_t>(row)] = length(row);
        } catch (const DataError& error) {
          bad_rows->add(row, error.what());
        }
      }
      return end;
    };
  };
  work_in_order(pool, rows->size(), kept == nullptr ? kRowsTokenised : kLengthsFound, prepare, [](int64_t) {});
  return lengths;
}

std::vector<TokenDocument> TokenSource::documents(const TextPieces& pieces) const {
  std::vector<TokenDocument> documents;
  for (const TextPiece& piece : pieces) {
    TokenSample row;
    try {
      row = sample(piece.row);
    } catch (const DataError& error) {
      bad_rows->add(piece.row, error.what());
      continue;
    }
    if (row.tokens.empty()) continue;
    if (piece.length < 0) {
      documents.push_back({std::move(row), 0});
      continue;
    }
    MILLRACE_CHECK(piece.begin + piece.length <= static_cast<int64_t>(row.tokens.size()));
    documents.push_back({{part(row.tokens, piece.begin, piece.length), part(row.labels, piece.begin, piece.length)},
                         max_length > 0 ? piece.begin % max_length : piece.begin});
  }
  for (TokenDocument& document : documents) {
    document.counted =
        std::ranges::count_if(document.tokens.labels, [](int32_t label) { return label != kMaskedLabel; });
  }
  if (encoder->label_shift() == LabelShift::kNone) shift_labels(documents);
  return documents;
}

TokenBatches::TokenBatches(TokenSource source, MicrobatchPlan plan, const TokenBatchesOptions& options,
                           ThreadPool& pool)
    : source_(std::move(source)), plan_(std::move(plan)), options_(options), pool_(pool), position_(plan_.position()) {}

TokenBatches::~TokenBatches() {
  drop_pending();
}

// Tasks use source_.
void TokenBatches::drop_pending() {
  for (Pending& microbatch : pending_) {
    for (PendingSample& sample : microbatch.samples) {
      if (sample.documents.valid()) sample.documents.wait();  // not if its error was thrown
    }
  }
  pending_.clear();
}

void TokenBatches::plan_ahead() {
  while (static_cast<int64_t>(pending_.size()) <= options_.ahead) {
    const PlannedPasses passes = plan_.next();
    Pending microbatch;
    microbatch.passes = passes.size();
    if (!passes.empty() && !passes.front().empty()) microbatch.epoch = passes.front().front().epoch;
    for (size_t pass = 0; pass < passes.size(); ++pass) {
      for (size_t i = static_cast<size_t>(options_.rank); i < passes[pass].size();
           i += static_cast<size_t>(options_.ranks)) {
        const PlannedSample& planned = passes[pass][i];
        microbatch.samples.push_back(
            {static_cast<int64_t>(pass), static_cast<uint32_t>(planned.epoch), id_of(planned.pieces),
             pool_.submit([this, pieces = planned.pieces] { return source_.documents(pieces); })});
      }
    }
    microbatch.position = plan_.position();
    pending_.push_back(std::move(microbatch));
  }
}

TokenMicrobatch TokenBatches::next() {
  plan_ahead();
  TokenMicrobatch microbatch;
  microbatch.passes.resize(pending_.front().passes);
  std::vector<uint32_t> epochs;
  std::vector<uint64_t> ids;
  for (PendingSample& sample : pending_.front().samples) {
    std::vector<TokenDocument> documents = sample.documents.get();
    if (documents.empty()) continue;
    TokenPass& pass = microbatch.passes[static_cast<size_t>(sample.pass)];
    ++pass.num_samples;
    std::move(documents.begin(), documents.end(), std::back_inserter(pass.documents));
    epochs.push_back(sample.epoch);
    ids.push_back(sample.id);
  }
  microbatch.digest = sample_digest(epochs, ids);
  microbatch.epoch = pending_.front().epoch;
  microbatch.position = position_ = pending_.front().position;
  pending_.pop_front();
  return microbatch;
}

void TokenBatches::restore(const std::string& position) {
  drop_pending();
  plan_.restore(position);
  position_ = plan_.position();
}

}  // namespace millrace
