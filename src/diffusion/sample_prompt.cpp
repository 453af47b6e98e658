#include "diffusion/sample_prompt.h"

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "base/text_lines.h"
#include "picture_sets/sample_prompts.h"

namespace millrace {
namespace {

PromptToDraw to_draw(const SamplePrompt& prompt, const std::string& place) {
  const SampleRequest request = sample_request(prompt, place);
  const auto is_given = [&](const char* key) {
    return prompt.values.contains(key) && !prompt.values.at(key).is_null();
  };
  PromptToDraw result{.text = request.prompt, .negative = request.negative_prompt};
  if (is_given("width")) result.width = request.width;
  if (is_given("height")) result.height = request.height;
  if (is_given("sample_steps")) result.denoising_steps = request.steps;
  if (is_given("scale")) result.guidance_scale = request.scale;
  if (is_given("guidance_scale")) result.distilled_guidance = request.guidance_scale;
  result.seed = request.seed;
  for (const std::string& part : prompt.ignored) log_warning("[", place, "] left out: ", printable(part));
  return result;
}

}  // namespace

std::vector<PromptToDraw> plain_prompts(const std::vector<std::string>& texts) {
  std::vector<PromptToDraw> prompts;
  for (const std::string& text : texts) prompts.push_back({.text = text, .negative = ""});
  return prompts;
}

std::vector<std::string> texts_of(const std::vector<PromptToDraw>& prompts) {
  std::vector<std::string> texts;
  for (const PromptToDraw& prompt : prompts) texts.push_back(prompt.text);
  return texts;
}

std::vector<PromptToDraw> read_prompts_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  bool is_theirs = ends_with(name, ".toml") || ends_with(name, ".json");
  std::vector<std::string> texts;
  if (!is_theirs) {
    for (TextLine& line : read_text_lines(path, {.code = ExitCode::kConfig})) {
      is_theirs = is_theirs || (ends_with(name, ".txt") && line.text.find(" --") != std::string::npos);
      texts.push_back(std::move(line.text));
    }
  }
  if (!is_theirs) return plain_prompts(texts);
  std::vector<PromptToDraw> prompts;
  for (const SamplePrompt& prompt : read_sample_prompts(path)) {
    prompts.push_back(to_draw(prompt, str(printable(name), ", prompt ", prompts.size())));
  }
  return prompts;
}

std::vector<PromptToDraw> configured_prompts(const SampleConfig& sample) {
  return sample.prompts_file.empty() ? plain_prompts(sample.prompts) : read_prompts_file(sample.prompts_file);
}

}  // namespace millrace
