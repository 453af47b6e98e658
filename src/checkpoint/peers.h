// How the ranks of a run agree while they save and load: each contributes, rank 0 decides, every rank gets the result.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/store.h"

namespace millrace {

struct SilentRankError : StorageError {
  using StorageError::StorageError;
};

class Peers {
 public:
  // A rank alone.
  Peers() = default;
  // timeout_seconds: how long the other ranks may take to contribute after this rank has.
  // store: outlives this; used by every thread that calls agree().
  Peers(Store& store, int rank, int size, double timeout_seconds);

  int rank() const { return rank_; }
  int size() const { return size_; }

  using Contribute = std::function<std::string()>;
  using Combine = std::function<std::string(const std::vector<std::string>&)>;
  // Every rank calls it with the same topic, never used before. Runs contribute() on every rank and then, on rank 0,
  // combine(contributions in the order of ranks); returns combine's result on every rank. If either fails anywhere,
  // every rank throws an Error with the code and message of the first failure; if a rank is silent, a SilentRankError
  // that names it. On a single rank it just calls the two.
  std::string agree(const std::string& topic, const Contribute& contribute, const Combine& combine);

  // From now on the other ranks get at most this long: for shutting down while they may be gone.
  void wait_at_most(double seconds);

 private:
  std::optional<std::string> wait_for(const std::string& key, double deadline);
  std::string gather_and_combine(const std::string& topic, std::string own, const Combine& combine);

  Store* store_ = nullptr;
  int rank_ = 0;
  int size_ = 1;
  double timeout_seconds_ = 0;
  std::atomic<double> last_deadline_{1e300};  // on the clock of now_seconds()
};

}  // namespace millrace
