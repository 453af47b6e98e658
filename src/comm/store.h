// Small values that ranks leave for each other: strings of bytes under names, kept by rank 0. Any thread may call.
#pragma once

#include <memory>
#include <string>

namespace millrace {

class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::string& value) = 0;
  // Waits for the key at most seconds. Throws PeerLostError when it did not come, and what a failed rank announced.
  virtual std::string get(const std::string& key, double seconds) = 0;
  virtual bool has(const std::string& key) = 0;
  virtual void remove(const std::string& key) = 0;
};

// For one process.
std::unique_ptr<Store> make_local_store();

}  // namespace millrace
