#include "base/work_in_order.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace millrace {
namespace {

TEST(WorkInOrder, TakesResultsInOrderAndIsFewPiecesAhead) {
  ThreadPool pool(3);
  int64_t prepared = 0, taken = 0;
  std::vector<int64_t> squares;
  const auto prepare = [&](int64_t begin, int64_t end) {
    EXPECT_EQ(begin, prepared);
    EXPECT_LE(begin - taken, 2 * 3 * 10);
    prepared = end;
    return [begin, end] {
      std::vector<int64_t> piece;
      for (int64_t i = begin; i < end; ++i) piece.push_back(i * i);
      return piece;
    };
  };
  work_in_order(pool, 1003, 10, prepare, [&](const std::vector<int64_t>& piece) {
    taken += static_cast<int64_t>(piece.size());
    squares.insert(squares.end(), piece.begin(), piece.end());
  });
  ASSERT_EQ(squares.size(), 1003u);
  for (size_t i = 0; i < squares.size(); ++i) EXPECT_EQ(squares[i], static_cast<int64_t>(i * i));
  work_in_order(pool, 0, 10, prepare, [](const auto&) { FAIL(); });
}

TEST(WorkInOrder, NoWorkIsLeftBehindAnError) {
  ThreadPool pool(2);
  std::atomic<int> begun = 0, ended = 0;
  const auto prepare = [&](int64_t begin, int64_t) {
    return [&, begin] {
      ++begun;
      if (begin == 3) throw std::runtime_error("three");
      ++ended;
      return begin;
    };
  };
  EXPECT_THROW(work_in_order(pool, 100, 1, prepare, [](int64_t) {}), std::runtime_error);
  EXPECT_EQ(begun, ended + 1);
}

}  // namespace
}  // namespace millrace
