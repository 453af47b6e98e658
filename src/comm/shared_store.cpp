#include "comm/shared_store.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr double kShortestPause = 0.001;  // seconds between two polls
constexpr double kLongestPause = 0.25;

// c10d's store holds a lock during a call, so every caller gets its own connection.
class SharedStore : public Store {
 public:
  SharedStore(c10::intrusive_ptr<c10d::Store> store, Watch& watch) : store_(std::move(store)), watch_(watch) {}

  void set(const std::string& key, const std::string& value) override {
    use([&](c10d::Store& store) { store.set(key, std::vector<uint8_t>(value.begin(), value.end())); });
  }

  // Polls: a wait inside c10d's store could not be interrupted when a rank is lost.
  std::string get(const std::string& key, double seconds) override {
    const double deadline = now_seconds() + seconds;
    for (double pause = kShortestPause; !has(key); pause = std::min(2 * pause, kLongestPause)) {
      watch_.check();
      const double left = deadline - now_seconds();
      if (left <= 0) throw PeerLostError(str("[store] expected ", key, " within ", seconds, " s, got nothing"));
      std::this_thread::sleep_for(std::chrono::duration<double>(std::min(pause, left)));
    }
    std::vector<uint8_t> value;
    use([&](c10d::Store& store) { value = store.get(key); });
    return {value.begin(), value.end()};
  }

  bool has(const std::string& key) override {
    bool there = false;
    use([&](c10d::Store& store) { there = store.check({key}); });
    return there;
  }

  void remove(const std::string& key) override {
    use([&](c10d::Store& store) { store.deleteKey(key); });
  }

 private:
  using Connection = c10::intrusive_ptr<c10d::Store>;

  Connection take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return store_->clone();
    Connection connection = std::move(idle_.back());
    idle_.pop_back();
    return connection;
  }
  void give_back(Connection connection) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(connection));
  }

  template <typename Call>
  void use(Call call) {
    try {
      Connection connection = take();
      call(*connection);
      give_back(std::move(connection));  // a failed one is dropped
    } catch (const std::exception& error) {
      watch_.check();
      const std::string what = error.what();
      throw PeerLostError("[store] expected an answer of rank 0, got: " + what.substr(0, what.find('\n')));
    }
  }

  c10::intrusive_ptr<c10d::Store> store_;
  Watch& watch_;
  std::mutex mutex_;
  std::vector<Connection> idle_;
};

}  // namespace

std::unique_ptr<Store> make_shared_store(c10::intrusive_ptr<c10d::Store> store, Watch& watch) {
  return std::make_unique<SharedStore>(std::move(store), watch);
}

}  // namespace millrace
