// Reads untrusted vocabulary files: sizes are capped, errors name the file and the line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace millrace {

inline constexpr uint64_t kMaxVocabularyBytes = uint64_t{64} << 20;
inline constexpr int64_t kMaxVocabularySize = int64_t{1} << 20;

[[noreturn]] void fail_vocabulary(const std::filesystem::path& path, int64_t line, std::string_view message);

// Throw ModelError when the file is missing, too long or damaged.
std::string read_vocabulary_text(const std::filesystem::path& path);  // inflates .gz
nlohmann::json read_vocabulary_json(const std::filesystem::path& path);

// What a tokenizer.json has as its "model": null where it has none.
const nlohmann::json& model_of(const nlohmann::json& tokenizer_json);

}  // namespace millrace
