// Small values that ranks share: byte strings under names, kept by rank 0. Any thread may call.
#pragma once

#include <memory>
#include <string>

namespace millrace {

class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::string& value) = 0;
  // Waits for the key at most seconds. Throws PeerLostError if it does not appear, or a failed rank's error.
  virtual std::string get(const std::string& key, double seconds) = 0;
  virtual bool has(const std::string& key) = 0;
  virtual void remove(const std::string& key) = 0;
};

// For a single process.
std::unique_ptr<Store> make_local_store();

}  // namespace millrace
