#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "download/http_client.h"

namespace millrace {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr long kSlowest = 1024;  // bytes per second
constexpr long kReceiveBuffer = 512 << 10;

void check(CURLMcode code) {
  if (code != CURLM_OK) throw LogicError(str("[libcurl] ", curl_multi_strerror(code)));
}

void start_libcurl() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw ConfigError(str("[libcurl] expected to start, got: ", curl_easy_strerror(code)));
}

// The first of these variables with a non-empty value.
const char* environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return nullptr;
}

HttpProblem problem_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpProblem::kNone;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpProblem::kTimeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CERTPROBLEM:
      return HttpProblem::kCertificate;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
      return HttpProblem::kProxy;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      return HttpProblem::kProtocol;
    default:
      return HttpProblem::kNetwork;
  }
}

// One request and the receiver of its answer.
struct Exchange {
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  HttpReceiver* receiver = nullptr;
  HttpHead head;
  size_t header_bytes = 0;
  bool has_head = false;
  bool stopped = false;
  std::exception_ptr thrown;  // thrown by the receiver; must not pass through libcurl, which is C
  std::array<char, CURL_ERROR_SIZE> message{};

  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
  }

  template <typename Value>
  void set(CURLoption option, Value value) {
    const CURLcode code = curl_easy_setopt(easy, option, value);
    if (code != CURLE_OK) throw LogicError(str("[libcurl] option ", int{option}, ": ", curl_easy_strerror(code)));
  }
  void add_header(const std::string& line) {
    curl_slist* longer = curl_slist_append(headers, line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    headers = longer;
  }

  // False: stop here.
  bool take_header_line(std::string_view line);
  size_t take_body(std::span<const std::byte> bytes);
};

bool Exchange::take_header_line(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > kMaxHeaderBytes) return false;
  if (has_head) return true;  // trailers after a chunked body
  line = trim(line);
  if (starts_with(line, "HTTP/")) {
    head.headers.clear();
    const size_t space = line.find(' ');
    head.status = space == std::string_view::npos ? 0 : std::atoi(std::string(line.substr(space + 1, 3)).c_str());
    return true;
  }
  if (!line.empty()) {
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      head.headers[to_lower(line.substr(0, colon))] = std::string(trim(line.substr(colon + 1)));
    }
    return true;
  }
  if (head.status < 200) return true;  // an interim response such as 100 Continue
  has_head = true;
  stopped = !receiver->on_head(head);
  return !stopped;
}

size_t Exchange::take_body(std::span<const std::byte> bytes) {
  switch (receiver->on_body(bytes)) {
    case HttpReceiver::Flow::kTake:
      return bytes.size();
    case HttpReceiver::Flow::kWait:
      return CURL_WRITEFUNC_PAUSE;
    case HttpReceiver::Flow::kStop:
      break;
  }
  stopped = true;
  return CURL_WRITEFUNC_ERROR;
}

size_t on_header(char* data, size_t, size_t size, void* user) {
  auto* exchange = static_cast<Exchange*>(user);
  try {
    return exchange->take_header_line({data, size}) ? size : 0;
  } catch (...) {
    exchange->thrown = std::current_exception();
    return 0;
  }
}

size_t on_body(char* data, size_t, size_t size, void* user) {
  auto* exchange = static_cast<Exchange*>(user);
  try {
    return exchange->take_body(std::as_bytes(std::span(data, size)));
  } catch (...) {
    exchange->thrown = std::current_exception();
    return CURL_WRITEFUNC_ERROR;
  }
}

}  // namespace

struct HttpClient::State {
  HttpClientOptions options;
  CURLM* multi = nullptr;
  std::map<Id, std::unique_ptr<Exchange>> running;
  Id next_id = 1;

  ~State() {
    for (auto& [id, exchange] : running) curl_multi_remove_handle(multi, exchange->easy);
    running.clear();
    curl_multi_cleanup(multi);
  }

  void set_up(Exchange& exchange, const HttpRequest& request) const;
  void finish(CURL* easy, CURLcode code);
};

void HttpClient::State::set_up(Exchange& exchange, const HttpRequest& request) const {
  exchange.easy = curl_easy_init();
  if (exchange.easy == nullptr) throw std::bad_alloc();
  exchange.head.url = request.url;
  exchange.set(CURLOPT_URL, request.url.text().c_str());
  exchange.set(CURLOPT_PROTOCOLS_STR, "http,https");
  exchange.set(CURLOPT_FOLLOWLOCATION, 0L);
  exchange.set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  exchange.set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  exchange.set(CURLOPT_PATH_AS_IS, 1L);
  if (request.head_only) exchange.set(CURLOPT_NOBODY, 1L);
  exchange.set(CURLOPT_USERAGENT, options.user_agent.c_str());
  exchange.set(CURLOPT_BUFFERSIZE, kReceiveBuffer);
  exchange.set(CURLOPT_TCP_KEEPALIVE, 1L);
  exchange.set(CURLOPT_CONNECTTIMEOUT_MS, std::lround(options.connect_seconds * 1000));
  exchange.set(CURLOPT_LOW_SPEED_LIMIT, kSlowest);
  exchange.set(CURLOPT_LOW_SPEED_TIME, std::max(1L, std::lround(options.stall_seconds)));
  exchange.set(CURLOPT_QUICK_EXIT, 1L);  // do not wait for a name server at shutdown
  if (const char* file = environment({"CURL_CA_BUNDLE", "SSL_CERT_FILE"})) exchange.set(CURLOPT_CAINFO, file);
  if (const char* folder = environment({"SSL_CERT_DIR"})) exchange.set(CURLOPT_CAPATH, folder);
  exchange.set(CURLOPT_ERRORBUFFER, exchange.message.data());
  exchange.set(CURLOPT_HEADERFUNCTION, on_header);
  exchange.set(CURLOPT_HEADERDATA, &exchange);
  exchange.set(CURLOPT_WRITEFUNCTION, on_body);
  exchange.set(CURLOPT_WRITEDATA, &exchange);
  // Uncompressed bytes: a compressed answer has neither the size nor the checksum of the file.
  exchange.add_header("Accept-Encoding: identity");
  for (const std::string& line : request.headers) exchange.add_header(line);
  if (request.token != nullptr && request.token->is_for(request.url)) {
    exchange.add_header("Authorization: Bearer " + request.token->value());
  }
  exchange.set(CURLOPT_HTTPHEADER, exchange.headers);
}

void HttpClient::State::finish(CURL* easy, CURLcode code) {
  const auto found =
      std::find_if(running.begin(), running.end(), [&](const auto& entry) { return entry.second->easy == easy; });
  if (found == running.end()) return;
  const std::unique_ptr<Exchange> exchange = std::move(found->second);
  running.erase(found);
  check(curl_multi_remove_handle(multi, easy));
  if (exchange->thrown) std::rethrow_exception(exchange->thrown);
  HttpEnd end;
  if (exchange->stopped) {
    end = {HttpProblem::kStopped, ""};
  } else if (code != CURLE_OK) {
    end = {problem_of(code), exchange->message[0] != '\0' ? exchange->message.data() : curl_easy_strerror(code)};
    if (exchange->header_bytes > kMaxHeaderBytes) end = {HttpProblem::kProtocol, "endless headers"};
    // Garbage on a reused connection is excess data that the server sent the last time.
    long new_connections = 0;
    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &new_connections);
    if (end.problem == HttpProblem::kProtocol && new_connections == 0) end.problem = HttpProblem::kNetwork;
  } else if (!exchange->has_head) {
    end = {HttpProblem::kProtocol, "an answer without headers"};
  }
  exchange->receiver->on_end(end);
}

HttpClient::HttpClient(const HttpClientOptions& options) : state_(std::make_unique<State>()) {
  start_libcurl();
  state_->options = options;
  state_->multi = curl_multi_init();
  if (state_->multi == nullptr) throw std::bad_alloc();
}

HttpClient::~HttpClient() = default;

HttpClient::Id HttpClient::start(const HttpRequest& request, HttpReceiver& receiver) {
  auto exchange = std::make_unique<Exchange>();
  exchange->receiver = &receiver;
  state_->set_up(*exchange, request);
  check(curl_multi_add_handle(state_->multi, exchange->easy));
  const Id id = state_->next_id++;
  state_->running.emplace(id, std::move(exchange));
  return id;
}

void HttpClient::cancel(Id id) {
  const auto found = state_->running.find(id);
  if (found == state_->running.end()) return;
  curl_multi_remove_handle(state_->multi, found->second->easy);
  state_->running.erase(found);
}

void HttpClient::resume(Id id) {
  const auto found = state_->running.find(id);
  if (found != state_->running.end()) curl_easy_pause(found->second->easy, CURLPAUSE_CONT);
}

void HttpClient::run(double seconds) {
  int count = 0;
  check(curl_multi_perform(state_->multi, &count));
  int left = 0;
  std::vector<std::pair<CURL*, CURLcode>> ended;
  while (const CURLMsg* message = curl_multi_info_read(state_->multi, &left)) {
    if (message->msg == CURLMSG_DONE) ended.emplace_back(message->easy_handle, message->data.result);
  }
  for (const auto& [easy, code] : ended) state_->finish(easy, code);
  if (!ended.empty()) return;  // the receivers may have started something
  check(curl_multi_poll(state_->multi, nullptr, 0, static_cast<int>(seconds * 1000), nullptr));
}

void HttpClient::wake() {
  curl_multi_wakeup(state_->multi);
}

}  // namespace millrace
