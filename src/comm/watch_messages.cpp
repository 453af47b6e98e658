#include "comm/watch_messages.h"

#include "base/log.h"

namespace millrace {
namespace {

// Other programs' bytes may be in a message; they must not make dump() throw.
std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string difference(const Hello& rank_0, const Hello& other) {
  auto compare = [](const char* what, const auto& expected, const auto& got, const char* hint) -> std::string {
    return expected == got ? "" : str("expected ", what, " of rank 0, ", expected, ", got ", got, " (try ", hint, ")");
  };
  std::string found = compare("the program version", rank_0.version, other.version, "the same build on all hosts");
  if (found.empty()) found = compare("the number of ranks", rank_0.size, other.size, "one launcher for all ranks");
  if (found.empty()) found = compare("the mesh", rank_0.mesh, other.mesh, "the same configuration on all ranks");
  if (found.empty()) {
    found =
        compare("the configuration", rank_0.fingerprint, other.fingerprint, "the same file and options on all ranks");
  }
  return found;
}

std::string to_line(const Hello& hello) {
  return dump({{"protocol", kWatchProtocol},
               {"job", hello.job_id},
               {"rank", hello.rank},
               {"size", hello.size},
               {"host", hello.host},
               {"pid", hello.pid},
               {"version", hello.version},
               {"mesh", hello.mesh},
               {"fingerprint", hello.fingerprint}});
}

std::optional<Hello> parse_hello(const std::string& line) {
  const nlohmann::json message = parse_message(line);
  if (text_of(message, "protocol") != kWatchProtocol) return std::nullopt;
  Hello hello;
  hello.job_id = text_of(message, "job");
  hello.rank = static_cast<int>(number_of(message, "rank", -1));
  hello.size = static_cast<int>(number_of(message, "size", -1));
  hello.host = text_of(message, "host");
  hello.pid = static_cast<int>(number_of(message, "pid", 0));
  hello.version = text_of(message, "version");
  hello.mesh = text_of(message, "mesh");
  hello.fingerprint = text_of(message, "fingerprint");
  return hello;
}

nlohmann::json parse_message(const std::string& line) {
  nlohmann::json message = nlohmann::json::parse(line, nullptr, false);
  return message.is_object() ? message : nlohmann::json::object();
}

std::string text_of(const nlohmann::json& message, const char* key) {
  const auto found = message.find(key);
  return found != message.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t number_of(const nlohmann::json& message, const char* key, int64_t otherwise) {
  const auto found = message.find(key);
  return found != message.end() && found->is_number_integer() ? found->get<int64_t>() : otherwise;
}

std::string beat_line(int64_t step) {
  return dump({{"beat", step}});
}

std::string failure_line(const std::string& message, int exit_code, int64_t step) {
  constexpr size_t kLongest = 8000;  // far below the limit of a line, even when every byte is escaped
  return dump({{"failed", message.substr(0, kLongest)}, {"code", exit_code}, {"step", step}});
}

std::string go_line(int store_port, const std::string& address, const std::string& rank_0_host) {
  return dump({{"store_port", store_port}, {"address", address}, {"host", rank_0_host}});
}

std::string rank_label(int rank, const std::string& host, int64_t step) {
  return step < 0 ? str("[rank ", rank, " on ", host, "]") : str("[rank ", rank, " on ", host, ", step ", step, "]");
}

}  // namespace millrace
