// chat_template of Hugging Face's models: Jinja, of which what chat templates use is understood (jinja/).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "language/chat_template.h"
#include "language/jinja/render.h"

namespace millrace {

// The template sees messages, tools, documents, add_generation_prompt, the special tokens by name (bos_token, ...) and
// what else the arguments hold. So that ids don't depend on the day, strftime_now is not "defined": templates that ask
// fall back to their fixed date, or take date_string. Those that call it without asking get one day (fixed_date.h).
class JinjaTemplate : public ChatTemplate {
 public:
  // special_tokens: ("bos_token", "<|im_start|>"), ... Throws ModelError naming place and line for what is not
  // understood.
  JinjaTemplate(std::string_view source, std::vector<std::pair<std::string, std::string>> special_tokens,
                const std::string& place);

  std::string render(const nlohmann::ordered_json& arguments, bool add_generation_prompt,
                     const std::string& place) const override;
  std::optional<RenderedChat> render_marked(const nlohmann::ordered_json& arguments,
                                            const std::string& place) const override;

 private:
  jinja::Rendered run(const nlohmann::ordered_json& arguments, bool add_generation_prompt,
                      const std::string& place) const;

  jinja::Block block_;
  std::vector<std::pair<std::string, std::string>> special_tokens_;
  bool marks_;
};

}  // namespace millrace
