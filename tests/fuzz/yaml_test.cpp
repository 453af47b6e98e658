// Damaged YAML files of torchtune are translated or refused.
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "compat/tune_translate.h"
#include "damaged_files.h"

namespace millrace {
namespace {

std::vector<std::string> yaml_samples() {
  return {
      *tune_config_text("llama3_1/8B_lora_single_device"),
      "base: &b {x: 1, y: ['${z}', 2e-5, 0x1f, ~]}\nz: ${oc.env:HOME,none}\nmore:\n  <<: *b\n  text: |\n    a\n    b\n"
      "  list:\n    - \"q\\u00e9\"\n    - '${base.x}${z}'\n"};
}

void translate(const std::string& text) {
  const TuneFile file = parse_tune_file(text, "fuzz", {}, [](const std::string&) { return std::nullopt; });
  if (file.root.find("model") == nullptr) return;
  ASSERT_FALSE(translate_tune(find_tune_recipe("lora_finetune_single_device"), file, {}).overrides().empty());
}

class DamagedYaml : public testing::TestWithParam<FuzzTarget> {};

TEST_P(DamagedYaml, IsTranslatedOrRefusedInBoundedMemory) {
  fuzz_mutations(GetParam());
}

TEST_P(DamagedYaml, EveryTruncationIsTranslatedOrRefused) {
  fuzz_truncations(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Yaml, DamagedYaml, testing::Values(FuzzTarget{"tune", 3000, yaml_samples, translate}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
