// millrace tune run: a recipe of torchtune, translated, explained and run; and what it fetches models with.
#include <cstdlib>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/world.h"
#include "commands.h"
#include "compat/tune_translate.h"
#include "config/number_text.h"
#include "local_ranks.h"
#include "start_run.h"
#include "translated_run.h"
#include "tune_commands.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxYamlBytes = 1 << 20;

struct TuneRunArguments {
  int64_t nodes = 1, ranks = 1;
  std::string recipe, config;
  std::vector<std::string> overrides;
  bool show_config = false;
};

// --name VALUE or --name=VALUE from words[i] on; "-" is "_".
std::pair<std::string, std::string> take_option(const std::vector<std::string>& words, size_t& i) {
  const std::string& word = words[i];
  const size_t equals = word.find('=');
  std::string name = word.substr(0, equals);
  for (size_t at = 2; at < name.size(); ++at) name[at] = name[at] == '-' ? '_' : name[at];
  if (equals != std::string::npos) return {name, word.substr(equals + 1)};
  if (i + 1 >= words.size()) throw ConfigError("[" + name + "] expected a value, got nothing");
  return {name, words[++i]};
}

int64_t count_of(const std::string& name, const std::string& value) {
  const auto count = parse_integer(value);
  if (count && *count >= 1 && *count <= 1024) return *count;
  throw ConfigError("[" + name + "] expected a number of ranks from 1 to 1024, got " + json_escape(value));
}

// torchrun's options before the recipe, then its own behind it.
TuneRunArguments parse_run(const std::vector<std::string>& words) {
  TuneRunArguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--show-config" || word == "--show_config") {
      arguments.show_config = true;
    } else if (word == "--standalone") {
      continue;
    } else if (starts_with(word, "--") || word == "-c") {
      const auto [name, value] = take_option(words, i);
      if (name == "--config" || name == "-c") {
        arguments.config = value;
      } else if (!arguments.recipe.empty()) {
        throw ConfigError("[" + name + "] expected --config or key=value behind the recipe, got another option");
      } else if (name == "--nnodes") {
        arguments.nodes = count_of(name, value);
      } else if (name == "--nproc_per_node") {
        arguments.ranks = count_of(name, value);
      } else if (!starts_with(name, "--rdzv_") && name != "--node_rank" && name != "--master_addr" &&
                 name != "--master_port" && name != "--max_restarts") {
        throw ConfigError("[" + name +
                          "] expected an option of torchrun before the recipe, got another (try "
                          "--nproc_per_node)");
      }
    } else if (arguments.recipe.empty()) {
      arguments.recipe = word;
    } else {
      arguments.overrides.push_back(word);
    }
  }
  if (arguments.recipe.empty()) throw ConfigError("[tune run] expected a recipe, got none (try millrace tune ls)");
  if (arguments.config.empty()) {
    throw ConfigError("[tune run] expected --config with a file or a name that `millrace tune ls` lists, got none");
  }
  return arguments;
}

// A file, or a configuration by its name.
std::string read_config(const std::string& name) {
  std::error_code ignored;
  if (fs::is_regular_file(name, ignored)) return read_file(name, kMaxYamlBytes);
  if (const auto text = tune_config_text(name)) return *text;
  const std::string near = nearest(name, tune_config_names());
  throw ConfigError("[" + name + "] expected a YAML file, or a name that `millrace tune ls` lists, got neither" +
                    (near.empty() ? "" : " (try " + near + ")"));
}

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// Starts this command as several ranks.
int start_ranks(const TuneRunArguments& arguments, const std::vector<std::string>& words) {
  if (arguments.nodes > 1) {
    throw ConfigError(str("[--nnodes] expected 1, got ", arguments.nodes,
                          " (on several machines every rank is a task of "
                          "Slurm: srun --nodes=",
                          arguments.nodes, " --ntasks-per-node=", arguments.ranks, " millrace tune run ",
                          arguments.recipe, " --config ", arguments.config, ")"));
  }
  std::vector<std::string> command = {fs::read_symlink("/proc/self/exe").string(), "tune", "run"};
  command.insert(command.end(), words.begin(), words.end());
  return run_local_ranks(static_cast<int>(arguments.ranks), command);
}

}  // namespace

int run_tune_run(const std::vector<std::string>& words) {
  const TuneRunArguments arguments = parse_run(words);
  const TuneRecipe& recipe = find_tune_recipe(arguments.recipe);
  const World world = detect_world();
  const bool wants_ranks = arguments.ranks > 1 || arguments.nodes > 1;
  if (wants_ranks && world.launcher == "single" && !arguments.show_config) return start_ranks(arguments, words);
  const TuneFile file =
      parse_tune_file(read_config(arguments.config), arguments.config, arguments.overrides, environment);
  const Translation translation = translate_tune(recipe, file, {.world_size = world.size});
  const std::unique_ptr<RunConfig> config = load_translated(translation, "torchtune", world);
  return start_run(*config, world, {.show_config = arguments.show_config});
}

int run_tune_download(const std::vector<std::string>& words) {
  std::string repository;
  fs::path folder;
  std::vector<std::string> command;
  for (size_t i = 0; i < words.size(); ++i) {
    if (!starts_with(words[i], "--")) {
      if (!repository.empty()) throw ConfigError("[" + words[i] + "] expected one OWNER/NAME, got a second");
      repository = words[i];
      continue;
    }
    const auto [name, value] = take_option(words, i);
    if (name == "--output_dir") {
      folder = value;
    } else if (name == "--ignore_patterns") {
      if (!value.empty()) command.insert(command.end(), {"--exclude", value});
    } else if (name == "--hf_token") {
      throw ConfigError(
          "[--hf-token] expected the token in HF_TOKEN, where no list of processes shows it, got it here");
    } else if (name != "--source" || value != "huggingface") {
      throw ConfigError("[" + name + "] expected --output-dir, --ignore-patterns or --source huggingface, got another");
    }
  }
  if (repository.find('/') == std::string::npos) {
    throw ConfigError("[tune download] expected OWNER/NAME, got " + (repository.empty() ? "nothing" : repository));
  }
  if (folder.empty()) folder = fs::path("/tmp") / repository.substr(repository.rfind('/') + 1);
  command.insert(command.begin(), {"hf:" + repository, "--output", folder.string()});
  const int status = run_download(command);
  if (status == 0) {
    write_file_atomically(folder / "original_repo_id.json", nlohmann::json{{"repo_id", repository}}.dump() + "\n");
  }
  return status;
}

}  // namespace millrace
