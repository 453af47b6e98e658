#include <condition_variable>
#include <map>
#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "comm/store.h"

namespace millrace {
namespace {

class LocalStore : public Store {
 public:
  void set(const std::string& key, const std::string& value) override {
    {
      const std::lock_guard lock(mutex_);
      values_[key] = value;
    }
    changed_.notify_all();
  }
  std::string get(const std::string& key, double seconds) override {
    std::unique_lock lock(mutex_);
    const bool there =
        changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return values_.contains(key); });
    if (!there) throw PeerLostError(str("[store] expected ", key, " within ", seconds, " s, got nothing"));
    return values_[key];
  }
  bool has(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    return values_.contains(key);
  }
  void remove(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    values_.erase(key);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

}  // namespace

std::unique_ptr<Store> make_local_store() {
  return std::make_unique<LocalStore>();
}

}  // namespace millrace
