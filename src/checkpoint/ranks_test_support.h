// Threads as ranks, for the tests of this folder.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <torch/types.h>

#include "checkpoint/checkpointer.h"
#include "checkpoint/test_support.h"
#include "comm/store.h"

namespace millrace::testing {

// Runs an action once per rank, each in its own thread. messages: what each rank threw; empty if it threw nothing.
struct RanksResult {
  std::vector<std::string> messages;
  std::vector<ExitCode> codes;
};

inline RanksResult run_ranks(int size, const std::function<void(int rank, Store& store)>& action) {
  const std::unique_ptr<Store> store = make_local_store();
  RanksResult result{std::vector<std::string>(static_cast<size_t>(size)),
                     std::vector<ExitCode>(static_cast<size_t>(size), ExitCode::kDone)};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        action(rank, *store);
      } catch (const Error& error) {
        result.messages[static_cast<size_t>(rank)] = error.what();
        result.codes[static_cast<size_t>(rank)] = error.code();
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return result;
}

inline void expect_no_errors(const RanksResult& result) {
  for (const std::string& message : result.messages) EXPECT_EQ(message, "");
}

inline CheckpointerOptions options_of_rank(const std::filesystem::path& folder, int rank, int size, Store& store,
                                           double timeout_seconds = 20, int keep_latest_k = 10, bool async = true) {
  return {folder, keep_latest_k, async, std::make_shared<Peers>(store, rank, size, timeout_seconds)};
}

// Matrices, vectors, a scalar, and a size that no split divides; values differ from step to step.
inline std::vector<NamedTensor> model_of_step(int64_t step) {
  const auto base = static_cast<double>(step) * 1000;
  return {{"model.weight", torch::arange(77, torch::kFloat32).view({7, 11}) + base},
          {"model.wide", torch::arange(60, torch::kFloat32).view({5, 12}) - base},
          {"model.conv", torch::arange(240, torch::kFloat32).view({4, 5, 4, 3}) * 0.5 + base},
          {"model.bias", torch::arange(13, torch::kFloat32).to(torch::kBFloat16) + base},
          {"model.scale", torch::tensor(base)},
          {"optimizer.step", torch::tensor(step, torch::kInt64)}};
}

// How `size` ranks hold the model: tensors of two or more dimensions either as runs of all tensors laid end to end, as
// in sharded data parallelism, or as boxes that split one dimension, as in tensor parallelism. The seed moves the
// cuts.
inline std::vector<NamedPiece> pieces_of_rank(const std::vector<NamedTensor>& model, int rank, int size, bool boxes,
                                              unsigned seed) {
  std::mt19937 random(seed);  // the same on all ranks
  std::vector<NamedPiece> pieces;
  for (const auto& [name, tensor] : model) {
    const bool box = boxes && tensor.dim() >= 2;
    const int64_t dim = box ? static_cast<int64_t>(random() % static_cast<unsigned>(tensor.dim())) : 0;
    const int64_t length = box ? tensor.size(dim) : tensor.numel();
    std::vector<int64_t> cuts = {0, length};
    for (int i = 1; i < size; ++i) cuts.push_back(static_cast<int64_t>(random() % static_cast<unsigned>(length + 1)));
    std::sort(cuts.begin(), cuts.end());
    const int64_t begin = cuts[static_cast<size_t>(rank)], end = cuts[static_cast<size_t>(rank) + 1];
    if (begin == end) continue;
    NamedPiece piece{name, tensor.sizes().vec(), 0, {}, {}, {}};
    if (box) {
      piece.start.assign(static_cast<size_t>(tensor.dim()), 0);
      piece.start[static_cast<size_t>(dim)] = begin;
      piece.data = tensor.slice(dim, begin, end);  // strided
      piece.shape = piece.data.sizes().vec();
      pieces.push_back(piece);
      continue;
    }
    // In two parts, so that one file holds several pieces of a tensor.
    const int64_t middle = begin + (end - begin) / 2;
    for (const auto& [from, to] : {std::pair{begin, middle}, std::pair{middle, end}}) {
      if (from == to) continue;
      piece.offset = from;
      piece.data = tensor.view(-1).slice(0, from, to);
      pieces.push_back(piece);
    }
  }
  return pieces;
}

inline void save_by_ranks(const std::filesystem::path& folder, int64_t step, int size, bool boxes, unsigned seed,
                          bool async = true) {
  const std::vector<NamedTensor> model = model_of_step(step);
  expect_no_errors(run_ranks(size, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder, rank, size, store, 20, 10, async));
    checkpointer.save(step, pieces_of_rank(model, rank, size, boxes, seed), state_of_step(step));
    checkpointer.wait();
  }));
}

}  // namespace millrace::testing
