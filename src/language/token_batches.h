// The tokens of microbatches, one after the other: rows are read and tokenised by several threads ahead of the step.
#pragma once

#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "language/bad_rows.h"
#include "language/microbatch_plan.h"
#include "language/row_encoder.h"
#include "language/row_set.h"

namespace millrace {

// A piece of a row: attention stays inside it. Its labels are shifted.
struct TokenDocument {
  TokenSample tokens;
  int64_t first_position = 0;
  // Its part in the mean over a step: of its tokens, those that are trained. torchtune 0.6.1 counts labels before it
  // shifts them, and so also a first token, which nothing predicts.
  int64_t counted = 0;
};

// What is computed at a time.
struct TokenPass {
  std::vector<TokenDocument> documents;
  int64_t num_samples = 0;  // rows or packs with anything in them
};

struct TokenMicrobatch {
  std::vector<TokenPass> passes;  // one but for what torchtune carries over
  int64_t epoch = 0;              // of its first sample, over all ranks
  uint64_t digest = 0;            // of the samples on this rank (data/sample_digest.h)
  std::string position;           // behind it
};

class TokenFile;

// A data set that is tokenised when it is needed, or was before.
struct TokenSource {
  std::shared_ptr<RowSet> rows;
  std::shared_ptr<const RowEncoder> encoder;
  // One for each part of the rows if the parts differ, else empty.
  std::vector<std::shared_ptr<const RowEncoder>> encoders;
  std::shared_ptr<BadRows> bad_rows;
  int64_t max_length = 0;  // positions of longer rows, which continue in the next pack, start anew; 0: never
  std::shared_ptr<const TokenFile> kept;  // of all rows (token_cache.h); null: none

  const RowEncoder& encoder_of(int64_t row) const;
  // One row. Throws DataError.
  TokenSample sample(int64_t row) const;
  // For those who are about to read [begin, end): as RowSet, where tokens are not kept.
  HeldRows hold(int64_t begin, int64_t end) const { return kept == nullptr ? rows->hold(begin, end) : HeldRows(); }
  // The number of tokens of every row, 0 of bad ones; by all threads of the pool, where they are not kept.
  std::vector<int64_t> lengths(ThreadPool& pool) const;
  int64_t length(int64_t row) const;
  // One sample of a plan. Nothing for bad rows. Where the encoder leaves labels under their own tokens, they are
  // shifted over the whole sample, as torchtune 0.6.1 shifts rows of a batch: in a pack, the last token of a document
  // predicts the first one of the next, and the last of the pack predicts nothing.
  std::vector<TokenDocument> documents(const TextPieces& pieces) const;
};

struct TokenBatchesOptions {
  int64_t rank = 0, ranks = 1;  // of those that share a microbatch: each takes every ranks-th sample
  int64_t ahead = 4;            // microbatches prepared in advance
};

// One rank's share.
class TokenBatches {
 public:
  // pool must outlive it.
  TokenBatches(TokenSource source, MicrobatchPlan plan, const TokenBatchesOptions& options, ThreadPool& pool);
  ~TokenBatches();

  // Throws DataError when too many rows are bad.
  TokenMicrobatch next();
  const std::string& position() const { return position_; }
  void restore(const std::string& position);

 private:
  struct PendingSample {
    int64_t pass = 0;
    uint32_t epoch = 0;
    uint64_t id = 0;
    std::future<std::vector<TokenDocument>> documents;
  };
  struct Pending {
    size_t passes = 0;
    int64_t epoch = 0;
    std::vector<PendingSample> samples;
    std::string position;
  };
  void plan_ahead();
  void drop_pending();

  TokenSource source_;
  MicrobatchPlan plan_;
  TokenBatchesOptions options_;
  ThreadPool& pool_;
  std::deque<Pending> pending_;
  std::string position_;
};

}  // namespace millrace
