#include "language/llama3_tokens.h"

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr const char* kNames[] = {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                  "<|eom_id|>",        "<|eot_id|>",      "<|python_tag|>"};

int32_t id_of(const ByteLevelTokenizer& tokenizer, const char* name, const char* template_option) {
  if (const auto id = tokenizer.added_token(name)) return *id;
  throw ModelError(str("[tokenizer] expected Llama 3's special token ", name, ", got a vocabulary without it (try ",
                       template_option, ", for the layout of its own model)"));
}

}  // namespace

Llama3Tokens::Llama3Tokens(const ByteLevelTokenizer& of, const char* template_option)
    : tokenizer(&of),
      begin_of_text(id_of(of, kNames[0], template_option)),
      end_of_text(id_of(of, kNames[1], template_option)),
      start_header(id_of(of, kNames[2], template_option)),
      end_header(id_of(of, kNames[3], template_option)),
      end_of_message(id_of(of, kNames[4], template_option)),
      end_of_turn(id_of(of, kNames[5], template_option)),
      python_tag(id_of(of, kNames[6], template_option)) {}

bool Llama3Tokens::in(const ByteLevelTokenizer& tokenizer) {
  for (const char* name : kNames) {
    if (!tokenizer.added_token(name)) return false;
  }
  return true;
}

void Llama3Tokens::append_header(std::string_view role, std::vector<int32_t>& ids) const {
  ids.push_back(start_header);
  tokenizer->append_plain(role, ids);
  ids.push_back(end_header);
  tokenizer->append_plain("\n\n", ids);
}

}  // namespace millrace
