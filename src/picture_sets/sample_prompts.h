// Files of prompts for sample pictures during training, in the forms that sd-scripts reads (library/train_util.py,
// load_prompts and line_to_prompt_dict, commit 48d368f).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace {

struct SamplePrompt {
  // {"prompt", "negative_prompt", "width", "height", "seed", "sample_steps", "scale", "guidance_scale", ..., "enum"}:
  // what the file says, other keys of TOML and JSON included, and the prompt's number from 0.
  nlohmann::ordered_json values;
  // What changes no picture of FLUX, and why: "--z 3: expected a flag with its value", "widht: expected one of ... (try
  // width)".
  std::vector<std::string> ignored;
};

// .txt: a prompt a line, `a cat --w 1024 --h 768 --d 42`, "#" at the start of a line for a comment. .toml: [prompt]
// with what all have, [[prompt.subset]] for each. .json: a list of texts as in .txt, or of objects. Throws ConfigError
// naming path and, where there is one, the line.
std::vector<SamplePrompt> read_sample_prompts(const std::filesystem::path& path);

// "cat --w 64" -> {"prompt": "cat", "width": 64}. A flag that comes again replaces the first; one without a number is
// left out. The prompt itself is looked at for a flag too: "w 99 cats" has the width 99.
SamplePrompt parse_prompt_line(std::string_view line);

// How a prompt is drawn: its values with FLUX's defaults, sizes as multiples of 16, at least 64.
struct SampleRequest {
  std::string prompt, negative_prompt;
  int64_t width = 512, height = 512;
  std::optional<uint64_t> seed;  // none: another at each time
  int64_t steps = 20;
  double scale = 1;             // of classifier-free guidance; 1: without the negative prompt
  double guidance_scale = 3.5;  // given to the model
};
// Throws ConfigError naming place for a value of a wrong type.
SampleRequest sample_request(const SamplePrompt& prompt, const std::string& place);

}  // namespace millrace
