// Many pieces of work in the threads of a pool, whose results are taken in order while memory stays that of a few.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <future>
#include <type_traits>
#include <utility>

#include "base/thread_pool.h"

namespace millrace {

// For each piece [begin, end) of [0, count), in order: prepare(begin, end), in the calling thread, returns what the
// pool is to run; take(result) gets, in the calling thread again, what that returned. The pool is at most 2 *
// pool.size() pieces ahead of what was taken. What any of them throws is thrown once no work is left running.
template <typename Prepare, typename Take>
void work_in_order(ThreadPool& pool, int64_t count, int64_t size_of_piece, const Prepare& prepare, const Take& take) {
  using Work = std::invoke_result_t<const Prepare&, int64_t, int64_t>;
  std::deque<std::future<std::invoke_result_t<Work&>>> ahead;
  try {
    for (int64_t begin = 0; begin < count || !ahead.empty();) {
      while (begin < count && static_cast<int>(ahead.size()) < 2 * pool.size()) {
        const int64_t end = std::min(begin + size_of_piece, count);
        ahead.push_back(pool.submit(prepare(begin, end)));
        begin = end;
      }
      auto first = std::move(ahead.front());
      ahead.pop_front();
      take(first.get());
    }
  } catch (...) {
    for (auto& one : ahead) one.wait();
    throw;
  }
}

}  // namespace millrace
