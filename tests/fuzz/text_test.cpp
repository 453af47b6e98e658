// Damaged vocabularies, chat templates and rows: read or refused, within a bound on memory, whatever the bytes.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "damaged_files.h"
#include "language/jinja_template.h"
#include "language/row_file.h"
#include "tokenizers/byte_level_test_support.h"
#include "tokenizers/byte_level_tokenizer.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

void read_tiktoken(const std::string& text) {
  const MemoryFile file(text);
  const ByteLevelTokenizer tokenizer(read_tiktoken_model(file.path()));
  const std::string given = "don't <|eot_id|> 12345\n\n \xC3\xA9";
  ASSERT_EQ(tokenizer.decode(tokenizer.encode_plain(given)), given);
}

void read_json(const std::string& text) {
  const MemoryFile file(text);
  const ByteLevelTokenizer tokenizer(read_byte_level_json(read_vocabulary_json(file.path()), file.path()));
  for (const int32_t id : tokenizer.encode("abc <|begin_of_text|> \xC3\xA9")) {
    ASSERT_GE(id, 0);
    ASSERT_LT(id, tokenizer.vocabulary_size());
  }
}

void run_template(const std::string& source) {
  const JinjaTemplate chat_template(source, {{"bos_token", "<s>"}}, "fuzz");
  const auto chat = nlohmann::ordered_json::parse(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  touch(as_bytes(chat_template.render(chat, true, "row")));
}

void read_rows(const std::string& text, RowFileKind kind) {
  const MemoryFile file(text);
  const RowFile rows(file.path(), kind);
  ASSERT_LE(rows.size(), static_cast<int64_t>(text.size()));
  for (int64_t i = 0; i < rows.size(); ++i) rows.row(i);
}
void read_json_rows(const std::string& text) {
  read_rows(text, RowFileKind::kJson);
}
void read_csv_rows(const std::string& text) {
  read_rows(text, RowFileKind::kCsv);
}

std::vector<std::string> tiktoken_samples() {
  static const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  int rank = 0;
  for (const uint8_t byte : byte_order()) {
    text += std::string{alphabet[byte >> 2], alphabet[(byte & 3) << 4]} + "== " + std::to_string(rank++) + "\n";
  }
  text += "YWI= 256\n";
  // Many tokens of three bytes: a change of one's letters mostly makes another token.
  for (int i = 0; i < 400; ++i) {
    text += std::string{'Y', alphabet[i % 64], alphabet[i / 64 + 8], alphabet[(7 * i) % 64]} + " " +
            std::to_string(257 + i) + "\n";
  }
  return {text};
}

std::vector<std::string> json_samples() {
  nlohmann::json file = small_tokenizer_json();
  file["model"]["ignore_merges"] = true;
  file["normalizer"] = {{"type", "NFC"}};
  file["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers",
                            {{{"type", "Split"},
                              {"pattern", {{"Regex", "(?i:'s)|\\p{N}{1,3}|\\s+(?!\\S)|[^\\r\\n\\p{L}]?\\p{L}+"}}},
                              {"behavior", "Isolated"}},
                             {{"type", "Digits"}, {"individual_digits", true}},
                             {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  return {file.dump()};
}

std::vector<std::string> template_samples() {
  return {
      "{%- macro f(a, b='x') %}{{ a | trim ~ b }}{% endmacro -%}\n{% set ns = namespace(n=0) %}{% for m in messages if "
      "m.role != 'x' %}"
      "{% set ns.n = ns.n + loop.index0 %}{{ f(m['content'][0:]) }}{% if loop.last and add_generation_prompt %}{{ "
      "bos_token }}"
      "{% elif m is mapping %}{{ m | tojson(indent=2) }}{% else %}{{ m.content.split('a')[-1] }}{% endif %}{% endfor "
      "%}{{ ns.n }}",
      "{# c #}{{ (messages | map(attribute='role') | list)[::-1] | join(', ') }}{% generation %}{{ range(3) | length * "
      "2 // 1 }}"
      "{% endgeneration %}"};
}

std::vector<std::string> json_row_samples() {
  return {"{\"a\": \"x\\\"y\", \"b\": [1, {}]}\n{\"a\": null}\n", "[{\"a\": \"],[\"}, {\"b\": [[]]}]"};
}

std::vector<std::string> csv_row_samples() {
  return {"a,b\n\"x, \"\"y\"\"\n\",2\n3,4\n"};
}

class DamagedText : public testing::TestWithParam<FuzzTarget> {};

TEST_P(DamagedText, IsReadOrRefusedInBoundedMemory) {
  fuzz_mutations(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Text, DamagedText,
                         testing::Values(FuzzTarget{"tiktoken", 1500, tiktoken_samples, read_tiktoken},
                                         FuzzTarget{"tokenizer_json", 1500, json_samples, read_json},
                                         FuzzTarget{"template", 10000, template_samples, run_template},
                                         FuzzTarget{"json_rows", 10000, json_row_samples, read_json_rows},
                                         FuzzTarget{"csv_rows", 10000, csv_row_samples, read_csv_rows}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
