// Messages between rank 0 and the other ranks on the watch's connections: one JSON object per line.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace millrace {

inline constexpr const char* kWatchProtocol = "millrace watch 1";
inline constexpr double kBeatEvery = 1;  // seconds
// Seconds without a look at the clock: this process itself was stopped, and its clock says nothing about others.
inline constexpr double kWasAsleep = 3;

// The first line of every rank.
struct Hello {
  std::string job_id;
  int rank = 0;
  int size = 1;
  std::string host;
  int pid = 0;
  std::string version;
  std::string mesh;
  std::string fingerprint;
};

// "" when a rank with this hello can run together with rank 0, else what differs.
std::string difference(const Hello& rank_0, const Hello& other);

std::string to_line(const Hello& hello);
std::optional<Hello> parse_hello(const std::string& line);  // nullopt: not one of ours

// Any other line; absent fields are null. Never throws.
nlohmann::json parse_message(const std::string& line);
std::string text_of(const nlohmann::json& message, const char* key);
int64_t number_of(const nlohmann::json& message, const char* key, int64_t otherwise);

std::string beat_line(int64_t step);
// A failure of the whole run, or (towards rank 0) of the sender.
std::string failure_line(const std::string& message, int exit_code, int64_t step);
inline constexpr const char* kGoodbyeLine = R"({"goodbye":true})";
inline constexpr const char* kWelcomeLine = R"({"welcome":true})";  // the hello has been taken
inline constexpr const char* kRefusalLine = R"({"refused":true})";  // another job's port
// All ranks have connected: where rank 0 keeps its store, and the address that this rank's Gloo listens on.
std::string go_line(int store_port, const std::string& address, const std::string& rank_0_host);

// "[rank 3 on host-b, step 17]"; without the step if it is negative.
std::string rank_label(int rank, const std::string& host, int64_t step);

}  // namespace millrace
