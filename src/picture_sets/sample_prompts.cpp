#include "picture_sets/sample_prompts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "base/error.h"
#include "base/files.h"
#include "base/python_text.h"
#include "base/text.h"
#include "config/number_text.h"
#include "formats/quote.h"
#include "picture_sets/read_document.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;
using Kind = PlacedValue::Kind;

constexpr uint64_t kMaxPromptBytes = uint64_t{16} << 20;

// What follows a flag's name and one blank, and how far it goes.
enum class FlagValue {
  kDigits,      // whole number: the leading digits
  kNumber,      // number: the leading digits and points
  kWholeText,   // the whole rest
  kTextNumber,  // the whole rest, as a number
};

struct Flag {
  const char* name;
  const char* key;
  FlagValue value;
};

// In the order in which they are tried.
constexpr Flag kFlags[] = {
    {"w", "width", FlagValue::kDigits},
    {"h", "height", FlagValue::kDigits},
    {"d", "seed", FlagValue::kDigits},
    {"s", "sample_steps", FlagValue::kDigits},
    {"l", "scale", FlagValue::kNumber},
    {"g", "guidance_scale", FlagValue::kNumber},
    {"n", "negative_prompt", FlagValue::kWholeText},
    {"ss", "sample_sampler", FlagValue::kWholeText},
    {"cn", "controlnet_image", FlagValue::kWholeText},
    {"ctr", "cfg_trunc_ratio", FlagValue::kTextNumber},
    {"rcfg", "renorm_cfg", FlagValue::kTextNumber},
    {"fs", "flow_shift", FlagValue::kWholeText},
};

// Keys that sd-scripts reads for other models.
constexpr std::array kKeysOfOthers = {"sample_sampler", "controlnet_image", "cfg_trunc_ratio", "renorm_cfg",
                                      "flow_shift"};
constexpr const char* kOfOthers = "FLUX, which Euler steps draw, does not read it";

bool is_of_others(std::string_view key) {
  return std::find(kKeysOfOthers.begin(), kKeysOfOthers.end(), key) != kKeysOfOthers.end();
}

// What of an entry of TOML or JSON is not read.
void note_unread_keys(SamplePrompt& prompt) {
  std::vector<std::string> known = {"prompt"};
  for (const Flag& flag : kFlags) {
    if (!is_of_others(flag.key)) known.emplace_back(flag.key);
  }
  for (const auto& [key, value] : prompt.values.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end() || key == "enum") continue;
    const std::string near = nearest(key, known);
    prompt.ignored.push_back(
        key + ": " +
        (is_of_others(key) ? kOfOthers
                           : "expected one of " + join(known, ", ") + (near.empty() ? "" : " (try " + near + ")")));
  }
}

// The zero of every script but ASCII whose digits Python's \d, int() and float() take (Unicode 14, category Nd); the
// others follow it.
constexpr uint32_t kZeros[] = {0x660,   0x6F0,   0x7C0,   0x966,   0x9E6,   0xA66,   0xAE6,   0xB66,   0xBE6,   0xC66,
                               0xCE6,   0xD66,   0xDE6,   0xE50,   0xED0,   0xF20,   0x1040,  0x1090,  0x17E0,  0x1810,
                               0x1946,  0x19D0,  0x1A80,  0x1A90,  0x1B50,  0x1BB0,  0x1C40,  0x1C50,  0xA620,  0xA8D0,
                               0xA900,  0xA9D0,  0xA9F0,  0xAA50,  0xABF0,  0xFF10,  0x104A0, 0x10D30, 0x11066, 0x110F0,
                               0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950,
                               0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC,
                               0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0};

// Digits of all scripts as those of ASCII: "\xEF\xBC\x95" (a full-width 5) is "5".
std::string with_ascii_digits(std::string_view text) {
  if (!is_valid_utf8(text)) return std::string(text);
  std::string ascii;
  for (size_t at = 0; at < text.size();) {
    const unicode::CodePoint point = unicode::decode(text, at);
    const auto* next = std::upper_bound(std::begin(kZeros), std::end(kZeros), point.value);
    const bool is_digit = next != std::begin(kZeros) && point.value < next[-1] + 10;
    if (is_digit) {
      ascii += static_cast<char>('0' + (point.value - next[-1]));
    } else {
      ascii += text.substr(at, point.length);
    }
    at += point.length;
  }
  return ascii;
}

std::string_view leading(std::string_view text, std::string_view characters) {
  return text.substr(0, std::min(text.find_first_not_of(characters), text.size()));
}

Json whole_number(std::string_view digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc() && end == digits.data() + digits.size() ? Json(value)
                                                                      : Json(std::numeric_limits<uint64_t>::max());
}

// The value of flag in "w 64 and more"; null: the part is not that flag, or has no value.
Json flag_value(const Flag& flag, std::string_view part) {
  const std::string_view name(flag.name);
  if (part.size() <= name.size() || part[name.size()] != ' ') return nullptr;
  if (to_lower(part.substr(0, name.size())) != name) return nullptr;
  std::string_view rest = part.substr(name.size() + 1);
  rest = rest.substr(0, rest.find('\n'));  // texts of JSON may have several lines
  const std::string ascii = with_ascii_digits(rest);
  switch (flag.value) {
    case FlagValue::kDigits: {
      const std::string_view digits = leading(ascii, "0123456789");
      if (digits.empty()) return nullptr;
      const Json value = whole_number(digits);
      return std::string_view(flag.key) != "sample_steps" ? value
                                                          : Json(std::clamp<uint64_t>(value.get<uint64_t>(), 1, 1000));
    }
    case FlagValue::kNumber: {
      const auto number = parse_floating_point(leading(ascii, "0123456789."));
      return number ? Json(*number) : Json(nullptr);
    }
    case FlagValue::kWholeText:
      return rest.empty() ? Json(nullptr) : Json(as_utf8(std::string(rest)));
    case FlagValue::kTextNumber: {
      const auto number = parse_floating_point(python_strip(ascii));
      return number ? Json(*number) : Json(nullptr);
    }
  }
  return nullptr;
}

[[noreturn]] void fail(const std::string& file, const PlacedValue& at, const std::string& message) {
  throw ConfigError("[" + file + (at.place.line > 0 ? ":" + std::to_string(at.place.line) : "") + "] expected " +
                    message);
}

std::vector<SamplePrompt> prompts_of_lines(const std::string& content, const std::string& file) {
  if (!is_valid_utf8(content)) throw ConfigError("[" + file + "] expected prompts in UTF-8, got other bytes");
  std::vector<SamplePrompt> prompts;
  for (const std::string& line : python_lines(content)) {
    const std::string_view text = python_strip(line);
    if (!text.empty() && line[0] != '#') prompts.push_back(parse_prompt_line(text));
  }
  return prompts;
}

std::vector<SamplePrompt> prompts_of_toml(const PlacedValue& document, const std::string& file) {
  const PlacedValue* shared = document.find("prompt");
  if (shared == nullptr || !shared->is(Kind::kTable)) fail(file, document, "a table [prompt], got none");
  const PlacedValue* subsets = shared->find("subset");
  if (subsets == nullptr || !subsets->is(Kind::kList))
    fail(file, *shared, "[[prompt.subset]] for every prompt, got none");
  std::vector<SamplePrompt> prompts;
  for (const PlacedValue& subset : subsets->items) {
    if (!subset.is(Kind::kTable)) fail(file, subset, "a table for a prompt, got " + describe(subset));
    SamplePrompt prompt{.values = Json::object(), .ignored = {}};
    for (const PlacedValue& value : shared->items) {
      if (value.key != "subset") prompt.values[value.key] = to_json(value);
    }
    for (const PlacedValue& value : subset.items) {
      if (value.key == "subset") continue;
      if (shared->find(value.key) != nullptr) {
        fail(file, value, in_quotes(value.key) + " in [prompt] or in its subset, got both");
      }
      prompt.values[value.key] = to_json(value);
    }
    note_unread_keys(prompt);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::vector<SamplePrompt> prompts_of_json(const PlacedValue& document, const std::string& file) {
  if (!document.is(Kind::kList)) fail(file, document, "a list of prompts, got " + describe(document));
  std::vector<SamplePrompt> prompts;
  for (const PlacedValue& item : document.items) {
    if (item.is(Kind::kText)) {
      prompts.push_back(parse_prompt_line(item.text));
    } else if (item.is(Kind::kTable)) {
      prompts.push_back({to_json(item), {}});
      prompts.back().values.erase("subset");
      note_unread_keys(prompts.back());
    } else {
      fail(file, item, "a text or an object for a prompt, got " + describe(item));
    }
  }
  return prompts;
}

template <typename Number>
void take_number(const Json& values, const char* key, const std::string& place, Number& number) {
  if (!values.contains(key) || values[key].is_null()) return;
  if (!values[key].is_number()) {
    throw ConfigError("[" + place + "] expected a number for " + key + ", got " + values[key].dump());
  }
  number = values[key].get<Number>();
}

void take_text(const Json& values, const char* key, const std::string& place, std::string& text) {
  if (!values.contains(key) || values[key].is_null()) return;
  if (!values[key].is_string()) {
    throw ConfigError("[" + place + "] expected a text for " + key + ", got " + values[key].dump());
  }
  text = values[key].get<std::string>();
}

}  // namespace

SamplePrompt parse_prompt_line(std::string_view line) {
  SamplePrompt prompt;
  const std::vector<std::string_view> parts = python_split(line, " --");
  prompt.values["prompt"] = as_utf8(std::string(parts[0]));
  for (size_t i = 0; i < parts.size(); ++i) {
    bool is_known = false;
    for (const Flag& flag : kFlags) {
      Json value = flag_value(flag, parts[i]);
      if (value.is_null()) continue;
      prompt.values[flag.key] = std::move(value);
      is_known = true;
      if (is_of_others(flag.key)) prompt.ignored.push_back("--" + std::string(parts[i]) + ": " + kOfOthers);
      break;
    }
    if (!is_known && i > 0) prompt.ignored.push_back("--" + std::string(parts[i]) + ": expected a flag with its value");
  }
  return prompt;
}

std::vector<SamplePrompt> read_sample_prompts(const std::filesystem::path& path) {
  const std::string name = path.string();
  std::vector<SamplePrompt> prompts;
  if (ends_with(name, ".txt")) {
    std::string content;
    try {
      content = read_file(path, kMaxPromptBytes);
    } catch (const StorageError& error) {
      throw ConfigError(error.what());
    }
    if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
    prompts = prompts_of_lines(content, name);
  } else if (ends_with(name, ".toml")) {
    prompts = prompts_of_toml(read_document(path), name);
  } else if (ends_with(name, ".json")) {
    prompts = prompts_of_json(read_document(path), name);
  } else {
    throw ConfigError("[" + name + "] expected a file whose name ends with .txt, .toml or .json, got another");
  }
  for (size_t i = 0; i < prompts.size(); ++i) prompts[i].values["enum"] = i;
  return prompts;
}

SampleRequest sample_request(const SamplePrompt& prompt, const std::string& place) {
  SampleRequest request;
  take_text(prompt.values, "prompt", place, request.prompt);
  take_text(prompt.values, "negative_prompt", place, request.negative_prompt);
  take_number(prompt.values, "width", place, request.width);
  take_number(prompt.values, "height", place, request.height);
  take_number(prompt.values, "sample_steps", place, request.steps);
  take_number(prompt.values, "scale", place, request.scale);
  take_number(prompt.values, "guidance_scale", place, request.guidance_scale);
  uint64_t seed = 0;
  take_number(prompt.values, "seed", place, seed);
  if (prompt.values.contains("seed") && !prompt.values["seed"].is_null()) request.seed = seed;
  constexpr int64_t kMaxSide = 16384;
  if (request.width > kMaxSide || request.height > kMaxSide) {
    throw ConfigError("[" + place + "] expected at most " + std::to_string(kMaxSide) + " pixels a side, got " +
                      std::to_string(request.width) + " x " + std::to_string(request.height));
  }
  request.width = std::max<int64_t>(64, request.width - request.width % 16);
  request.height = std::max<int64_t>(64, request.height - request.height % 16);
  request.steps = std::clamp<int64_t>(request.steps, 1, 1000);
  return request;
}

}  // namespace millrace
