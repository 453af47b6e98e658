// Forwards another process's output line by line with a prefix.
#pragma once

#include <string>

namespace millrace {

class PrefixedOutput {
 public:
  // Reads from `from` (owned), writes to `to`.
  PrefixedOutput(int from, int to, std::string prefix);
  ~PrefixedOutput();
  PrefixedOutput(const PrefixedOutput&) = delete;
  PrefixedOutput& operator=(const PrefixedOutput&) = delete;

  void pass_on();  // the complete lines that have arrived; does not wait
  void finish();   // also the last line without a newline
  bool ended() const { return ended_; }
  int fd() const { return from_; }

 private:
  void write_line(const std::string& line);

  int from_;
  int to_;
  std::string prefix_;
  std::string pending_;
  bool ended_ = false;
};

}  // namespace millrace
