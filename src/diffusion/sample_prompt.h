// Prompts for sample pictures, each perhaps with options of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/options/sample.h"

namespace millrace {

// What a prompt leaves open is as for all others.
struct PromptToDraw {
  std::string text;
  std::string negative;  // guided away from; "": the empty prompt
  std::optional<int64_t> width = {}, height = {}, denoising_steps = {};
  std::optional<double> guidance_scale = {}, distilled_guidance = {};
  std::optional<uint64_t> seed = {};  // then the picture does not depend on the prompt's place in the list
};

std::vector<PromptToDraw> plain_prompts(const std::vector<std::string>& texts);
std::vector<std::string> texts_of(const std::vector<PromptToDraw>& prompts);

// One prompt a line (see base/text_lines.h), blank lines are skipped. As sd-scripts reads them
// (picture_sets/sample_prompts.h): .toml and .json, and a .txt in which any line has flags (`a cat --w 768 --d 42`).
// Throws ConfigError for text that is not UTF-8 and for values of a wrong type; flags that mean nothing here are warned
// of.
std::vector<PromptToDraw> read_prompts_file(const std::filesystem::path& path);

// sample.prompts, or those of sample.prompts_file.
std::vector<PromptToDraw> configured_prompts(const SampleConfig& sample);

}  // namespace millrace
