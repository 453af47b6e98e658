#include "formats/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr size_t kMaxUnknownDepth = 16;

// nlohmann's parser keeps one bit per open bracket and calls this for every event; nothing else is allocated.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderEvents(std::string_view place) : place_(place) {}
  SafetensorsHeader take() { return std::move(header_); }

  bool null() override {
    if (state_ == State::kTopValue && key_ == "__metadata__") return state_ = State::kTop, true;
    return scalar("null");
  }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t) override { return scalar("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override { return scalar(text); }
  bool binary(binary_t&) override { return scalar("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      if (value > static_cast<uint64_t>(INT64_MAX)) fail("dimensions below 2^63", value);
      if (entry_.shape.size() == kMaxTensorRank) fail(str("at most ", kMaxTensorRank, " dimensions"), "more");
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (offset_count_ == 2) fail("two data_offsets", "more");
      (offset_count_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return scalar("a number");
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadataValue) {
      if (!header_.metadata.emplace(key_, std::move(value)).second) fail("metadata keys that differ", "one twice");
      state_ = State::kMetadata;
      return true;
    }
    if (state_ == State::kEntryValue && key_ == "dtype") {
      const auto dtype = parse_dtype(value);
      if (!dtype) fail("a dtype this program knows (F64 ... F8_E5M2, I64 ... U8, BOOL)", in_quotes(value));
      entry_.dtype = *dtype;
      state_ = State::kEntry;
      return true;
    }
    return scalar("a string");
  }

  bool start_object(size_t) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kTop;
        return true;
      case State::kTopValue:
        if (key_ == "__metadata__") {
          state_ = State::kMetadata;
        } else {
          entry_ = {.name = key_};
          fields_.clear();
          state_ = State::kEntry;
        }
        return true;
      default:
        return open_unknown("an object");
    }
  }

  bool key(string_t& value) override {
    switch (state_) {
      case State::kTop:
        key_ = std::move(value);
        place_in_header_ = key_;
        if (!names_.insert(key_).second) fail("tensor names that differ", "this one twice");
        state_ = State::kTopValue;
        return true;
      case State::kMetadata:
        key_ = std::move(value);
        state_ = State::kMetadataValue;
        return true;
      case State::kEntry:
        key_ = std::move(value);
        if (!fields_.insert(key_).second) fail("fields that differ", in_quotes(key_) + " twice");
        state_ = State::kEntryValue;
        return true;
      default:  // inside an unknown field
        return true;
    }
  }

  bool end_object() override {
    switch (state_) {
      case State::kTop:
        state_ = State::kDone;
        return true;
      case State::kMetadata:
        state_ = State::kTop;
        return true;
      case State::kEntry:
        for (const char* field : {"dtype", "shape", "data_offsets"}) {
          if (!fields_.count(field)) fail(str("the field ", field), "none");
        }
        header_.entries.push_back(std::move(entry_));
        state_ = State::kTop;
        return true;
      default:
        return close_unknown();
    }
  }

  bool start_array(size_t) override {
    if (state_ == State::kEntryValue && key_ == "shape") return state_ = State::kShape, true;
    if (state_ == State::kEntryValue && key_ == "data_offsets") {
      offset_count_ = 0;
      return state_ = State::kOffsets, true;
    }
    return open_unknown("an array");
  }

  bool end_array() override {
    if (state_ == State::kUnknown) return close_unknown();
    if (state_ == State::kOffsets && offset_count_ != 2) fail("two data_offsets", offset_count_);
    state_ = State::kEntry;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw ModelError(str("[", place_, ", byte ", 8 + position,
                         "] expected a safetensors header in JSON, got a syntax error",
                         " (the file is damaged or not a safetensors file)"));
  }

 private:
  enum class State {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kEntry,
    kEntryValue,
    kShape,
    kOffsets,
    kUnknown,  // within an unknown field of a tensor
    kDone
  };

  template <typename Got>
  [[noreturn]] void fail(const std::string& expected, const Got& got) const {
    throw ModelError(str("[", place_, ", header", place_in_header_.empty() ? "" : " of " + in_quotes(place_in_header_),
                         "] expected ", expected, ", got ", got));
  }

  // Values of unknown fields of a tensor are skipped, as in the official library; any other value is misplaced.
  bool scalar(const std::string& what) {
    if (state_ == State::kUnknown) return true;
    if (state_ == State::kEntryValue && is_unknown_field()) return state_ = State::kEntry, true;
    fail(wanted(), what);
  }
  bool open_unknown(const std::string& what) {
    if (state_ == State::kEntryValue && is_unknown_field()) state_ = State::kUnknown;
    if (state_ != State::kUnknown) fail(wanted(), what);
    if (++unknown_depth_ > kMaxUnknownDepth) fail("JSON that is not nested so deep", "more levels");
    return true;
  }
  bool close_unknown() {
    if (--unknown_depth_ == 0) state_ = State::kEntry;
    return true;
  }
  bool is_unknown_field() const { return key_ != "dtype" && key_ != "shape" && key_ != "data_offsets"; }

  std::string wanted() const {
    switch (state_) {
      case State::kMetadataValue:
        return "a string as metadata value";
      case State::kShape:
        return "whole numbers as shape";
      case State::kOffsets:
        return "whole numbers as data_offsets";
      case State::kEntryValue:
        return key_ == "dtype" ? "a string as dtype" : "an array as " + key_;
      default:
        return "an object";
    }
  }

  std::string place_;
  std::string place_in_header_;  // the tensor being described
  State state_ = State::kStart;
  std::string key_;
  std::set<std::string> names_;
  std::set<std::string> fields_;
  SafetensorsEntry entry_;
  int offset_count_ = 0;
  size_t unknown_depth_ = 0;
  SafetensorsHeader header_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, std::string_view place) {
  // The parser treats a NUL as the end of the text and skips a byte order mark; the format allows neither.
  if (!starts_with(json, "{") || json.find('\0') != std::string_view::npos) {
    throw ModelError(str("[", place, ", byte 8] expected a safetensors header in JSON, got other bytes",
                         " (the file is damaged or not a safetensors file)"));
  }
  HeaderEvents events(place);
  nlohmann::json::sax_parse(json.begin(), json.end(), &events);
  return events.take();
}

}  // namespace millrace
