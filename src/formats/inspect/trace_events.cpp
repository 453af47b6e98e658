#include "formats/inspect/trace_events.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

// Keeps only the depth, the current field and the event being read; arguments of events are skipped.
class TraceParser : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TraceParser(std::string_view place) : place_(place) {}
  Trace take() {
    if (!found_events_) fail("\"traceEvents\"", "none");
    trace_.thread_count = static_cast<uint32_t>(threads_.size());
    return std::move(trace_);
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t value) override { return number(static_cast<double>(value)); }
  bool number_unsigned(number_unsigned_t value) override { return number(static_cast<double>(value)); }
  bool number_float(number_float_t value, const string_t&) override { return number(value); }
  bool binary(binary_t&) override { return true; }

  bool string(string_t& value) override {
    if (!is_in_event()) return true;
    if (key_ == "ph") is_complete_ = value == "X";
    if (key_ == "name") event_.name = name_index(value);
    if (key_ == "cat") event_.category = name_index(value);
    if (key_ == "pid") process_ = value;
    if (key_ == "tid") thread_ = value;
    return true;
  }

  bool start_object(size_t) override {
    open();
    if (events_depth_ > 0 && depth_ == events_depth_ + 1) {
      event_ = {.category = name_index("")};
      is_complete_ = false;
      process_.clear();
      thread_.clear();
    }
    return true;
  }
  bool key(string_t& value) override {
    if (depth_ == 1 || is_in_event()) key_ = value;
    return true;
  }
  bool end_object() override {
    if (is_in_event() && is_complete_) {
      if (trace_.events.size() == kMaxTraceEvents) fail(str("at most ", kMaxTraceEvents, " events"), "more");
      event_.thread = static_cast<uint32_t>(threads_.emplace(process_ + '\n' + thread_, threads_.size()).first->second);
      trace_.events.push_back(event_);
    }
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    open();
    if (depth_ == 1 || (depth_ == 2 && key_ == "traceEvents")) {
      events_depth_ = depth_;
      found_events_ = true;
    }
    return true;
  }
  bool end_array() override {
    if (depth_ == events_depth_) events_depth_ = 0;
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw DataError(str("[", place_, ", byte ", position, "] expected a profiler trace in JSON, got a syntax error",
                        " (a run that was killed leaves its trace incomplete)"));
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw DataError(str("[", place_, "] expected a profiler trace with ", expected, ", got ", got));
  }
  void open() {
    if (++depth_ > kMaxTraceDepth) fail(str("at most ", kMaxTraceDepth, " levels"), "more");
  }
  bool is_in_event() const { return events_depth_ > 0 && depth_ == events_depth_ + 1; }
  bool number(double value) {
    if (!is_in_event()) return true;
    if (key_ == "ts") event_.begin = value;
    if (key_ == "dur") event_.duration = value;
    if (key_ == "pid") process_ = std::to_string(value);
    if (key_ == "tid") thread_ = std::to_string(value);
    return true;
  }
  uint32_t name_index(const std::string& name) {
    const auto [found, is_new] = name_indices_.emplace(name, static_cast<uint32_t>(trace_.names.size()));
    if (is_new) trace_.names.push_back(name);
    return found->second;
  }

  std::string place_;
  size_t depth_ = 0;
  size_t events_depth_ = 0;  // of the array of events while inside it
  bool found_events_ = false;
  std::string key_;
  TraceEvent event_;
  bool is_complete_ = false;
  std::string process_, thread_;
  std::unordered_map<std::string, uint32_t> name_indices_;
  std::unordered_map<std::string, size_t> threads_;
  Trace trace_;
};

}  // namespace

Trace parse_trace(std::string_view json, std::string_view place) {
  TraceParser parser(place);
  nlohmann::json::sax_parse(json.begin(), json.end(), &parser);
  return parser.take();
}

}  // namespace millrace
