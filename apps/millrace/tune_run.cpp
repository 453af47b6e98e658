// millrace tune run: a recipe of torchtune, translated, explained and run; and what it fetches models with.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/world.h"
#include "commands.h"
#include "compat/tune_translate.h"
#include "config/number_text.h"
#include "local_ranks.h"
#include "nn/device.h"
#include "start_run.h"
#include "tasks/language_files.h"
#include "translated_run.h"
#include "tune_commands.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxYamlBytes = 1 << 20;

struct TuneRunArguments {
  int64_t nodes = 1, ranks = 1;
  std::optional<int64_t> node_rank;
  std::string rendezvous;  // host:port
  std::string master_host, master_port;
  std::string recipe, config;
  std::vector<std::string> overrides;
  std::vector<std::string> own_options;  // --section.key=value of `millrace train`
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
  throw ConfigError("[" + name + "] expected a number from 1 to 1024, got " + json_escape(value));
}

// torchrun's words for the ranks of a machine: one for each GPU or CPU core; auto: for each GPU where there are some.
int64_t ranks_of(const std::string& name, const std::string& value) {
  if (value != "auto" && value != "gpu" && value != "cpu") return count_of(name, value);
  const int gpus = value == "cpu" ? 0 : gpu_count();
  if (value == "gpu" && gpus == 0)
    throw ConfigError("[" + name + "] expected a usable GPU for gpu, got none (try cpu)");
  return gpus > 0 ? gpus : std::max(1U, std::thread::hardware_concurrency());
}

// How torchrun watches its processes, which has no counterpart here.
bool is_of_torchrun(const std::string& name) {
  constexpr std::array kNames = {
      "--rdzv_id",   "--rdzv_backend", "--rdzv_conf", "--max_restarts", "--monitor_interval", "--log_dir",
      "--redirects", "--tee",          "--role",      "--local_addr",   "--start_method"};
  return std::ranges::find(kNames, name) != kNames.end();
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
    } else if (!arguments.recipe.empty() && starts_with(word, "--") &&
               word.substr(0, word.find('=')).find('.') != std::string::npos) {
      if (word.find('=') == std::string::npos)
        throw ConfigError("[" + word + "] expected --section.key=value, got no value");
      arguments.own_options.push_back(word);
    } else if (starts_with(word, "--") || word == "-c") {
      const auto [name, value] = take_option(words, i);
      if (name == "--config" || name == "-c") {
        arguments.config = value;
      } else if (!arguments.recipe.empty()) {
        throw ConfigError("[" + name +
                          "] expected --config, key=value or an option of `millrace train` (--section.key=value) "
                          "behind the recipe, got another option");
      } else if (name == "--nnodes") {
        arguments.nodes = count_of(name, value);
      } else if (name == "--nproc_per_node") {
        arguments.ranks = ranks_of(name, value);
      } else if (name == "--node_rank") {
        arguments.node_rank = parse_integer(value).value_or(-1);
      } else if (name == "--rdzv_endpoint") {
        arguments.rendezvous = value;
      } else if (name == "--master_addr") {
        arguments.master_host = value;
      } else if (name == "--master_port") {
        arguments.master_port = value;
      } else if (!is_of_torchrun(name)) {
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
  if (!arguments.master_host.empty() && arguments.rendezvous.empty()) {
    constexpr const char* kPort = "29500";  // torchrun's
    arguments.rendezvous =
        arguments.master_host + ":" + (arguments.master_port.empty() ? kPort : arguments.master_port);
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

// Which of the machines this is, and where rank 0 is: torchrun's options, else what srun says.
NodePlace node_place(const TuneRunArguments& arguments, const World& world) {
  NodePlace place{.node = world.rank,
                  .nodes = static_cast<int>(arguments.nodes),
                  .master_host = world.master_host,
                  .master_port = world.master_port,
                  .job_id = world.job_id};
  if (arguments.node_rank) place.node = static_cast<int>(*arguments.node_rank);
  if (place.node < 0 || place.node >= place.nodes) {
    throw ConfigError(str("[--node_rank] expected 0 to ", place.nodes - 1, ", got ", place.node));
  }
  if (!arguments.rendezvous.empty()) {
    const size_t colon = arguments.rendezvous.rfind(':');
    const auto port = colon == std::string::npos ? std::nullopt : parse_integer(arguments.rendezvous.substr(colon + 1));
    if (!port || *port < 1 || *port > 65535) {
      throw ConfigError("[--rdzv_endpoint] expected HOST:PORT, got " + json_escape(arguments.rendezvous));
    }
    place.master_host = arguments.rendezvous.substr(0, colon);
    place.master_port = static_cast<int>(*port);
  }
  if (place.master_host.empty()) {
    throw ConfigError(str("[--nnodes] expected --rdzv_endpoint HOST:PORT and --node_rank with ", arguments.nodes,
                          " machines, or one task of srun on each, got neither"));
  }
  if (place.job_id.empty()) place.job_id = str("tune-", place.master_host, ":", place.master_port);
  return place;
}

// Starts this command as the ranks of this machine; nullopt: this process is a rank itself.
std::optional<int> start_ranks(const TuneRunArguments& arguments, const World& world,
                               const std::vector<std::string>& words) {
  const int64_t wanted = arguments.nodes * arguments.ranks;
  if (wanted == 1 || world.size == wanted) return std::nullopt;
  std::vector<std::string> command = {fs::read_symlink("/proc/self/exe").string(), "tune", "run"};
  command.insert(command.end(), words.begin(), words.end());
  const auto ranks = static_cast<int>(arguments.ranks);
  if (arguments.nodes == 1 && world.size == 1) return run_local_ranks(ranks, command);
  if (world.size == 1 || (world.launcher == "slurm" && world.size == arguments.nodes)) {
    return run_local_ranks(ranks, command, node_place(arguments, world));
  }
  throw ConfigError(str("[--nproc_per_node] expected as many ranks as ", world.launcher, " has started, ", world.size,
                        ", or one task on each machine, got ", arguments.nodes, " x ", arguments.ranks));
}

}  // namespace

int run_tune_run(const std::vector<std::string>& words) {
  const TuneRunArguments arguments = parse_run(words);
  const TuneRecipe& recipe = find_tune_recipe(arguments.recipe);
  const World world = detect_world();
  if (!arguments.show_config) {
    if (const auto status = start_ranks(arguments, world, words)) return *status;
  }
  const TuneFile file =
      parse_tune_file(read_config(arguments.config), arguments.config, arguments.overrides, environment);
  // The ranks that it asks for count where they are not started.
  const int64_t world_size =
      arguments.show_config ? std::max<int64_t>(world.size, arguments.nodes * arguments.ranks) : world.size;
  const Translation translation = translate_tune(recipe, file, {.world_size = world_size});
  const std::unique_ptr<RunConfig> config = load_translated(translation, "torchtune", world, arguments.own_options);
  return start_run(*config, world, {.show_config = arguments.show_config});
}

// As `tune run` would see it; which recipe it is for, its model says.
int run_tune_validate(const std::vector<std::string>& words) {
  if (words.size() != 1 || starts_with(words[0], "-")) {
    throw ConfigError(
        "[tune validate] expected a YAML file, or a name that `millrace tune ls` lists, and nothing else");
  }
  const TuneFile file = parse_tune_file(read_config(words[0]), words[0], {}, environment);
  const PlacedValue* model = file.root.find("model");
  const PlacedValue* component = model == nullptr ? nullptr : model->find("_component_");
  const std::string function = component == nullptr ? "" : component->text.substr(component->text.rfind('.') + 1);
  const bool is_lora = starts_with(function, "lora_") || starts_with(function, "qlora_");
  const TuneRecipe& recipe = find_tune_recipe(is_lora ? "lora_finetune_distributed" : "full_finetune_distributed");
  const World world = detect_world();
  load_translated(translate_tune(recipe, file, {.world_size = world.size}), "torchtune", world, {});
  std::cout << "Config is well-formed!\n";
  return 0;
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
  if (status == 0) note_repository(folder, repository);
  return status;
}

}  // namespace millrace
