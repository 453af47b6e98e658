// millrace tune: torchtune's commands.
#include <filesystem>
#include <iostream>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "commands.h"
#include "compat/tune_recipes.h"
#include "tune_commands.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHelp =
    "torchtune's commands, for those who come from it (docs/compat.md).\n\n"
    "usage: millrace tune run [--nproc_per_node N] RECIPE --config NAME|FILE.yaml [key=value ...] [--section.key=value "
    "...]\n"
    "                         [--show-config]\n"
    "       millrace tune ls\n"
    "       millrace tune cat CONFIG [--sort]\n"
    "       millrace tune cp CONFIG FILE [-n] [--make-parents]\n"
    "       millrace tune validate NAME|FILE.yaml\n"
    "       millrace tune download OWNER/NAME [--output-dir DIR] [--ignore-patterns PATTERN]\n\n"
    "sub-commands:\n"
    "  run       train by a recipe and a YAML file, or resume. Prints what each key became; a key that is unknown or\n"
    "            cannot be had is refused with its line. key=value overrides, ~key deletes a key;\n"
    "            --section.key=value is an option of `millrace train` and beats what the file became.\n"
    "  ls        the recipes and the configurations that `run` knows by name\n"
    "  cat       print one of these configurations\n"
    "  cp        copy one of them to a file\n"
    "  validate  check a YAML file as `run` would, with the recipe that its model needs, and stop\n"
    "  download  fetch a model from Hugging Face into /tmp/NAME, or --output-dir; the token comes from HF_TOKEN\n\n"
    "options of run:\n"
    "  --nproc_per_node N  start N ranks on this machine, or one for each gpu, cpu, or whichever of them there is "
    "(auto);\n"
    "                      where srun or torchrun starts every rank it is not needed\n"
    "  --nnodes N          the machines; on each the same command, by srun or with --node_rank and --rdzv_endpoint\n"
    "  --show-config       print the configuration for `millrace train` that it becomes, and stop\n";

std::string config_named(const std::string& name) {
  if (const auto text = tune_config_text(name)) return *text;
  const std::string near = nearest(name, tune_config_names());
  throw ConfigError("[" + name + "] expected a configuration that `millrace tune ls` lists, got another name" +
                    (near.empty() ? "" : " (try " + near + ")"));
}

int show_config(std::vector<std::string> names) {
  const bool sorts = std::erase(names, "--sort") > 0;
  if (names.size() != 1) {
    throw ConfigError("[tune cat] expected one configuration, got " + std::to_string(names.size()));
  }
  const std::string text = config_named(names[0]);
  std::cout << (sorts ? sorted_tune_config(text) : text);
  return 0;
}

int copy_config(const std::vector<std::string>& args) {
  std::vector<std::string> names;
  bool keep = false, make_parents = false;
  for (const std::string& word : args) {
    if (word == "-n" || word == "--no-clobber") {
      keep = true;
    } else if (word == "--make-parents") {
      make_parents = true;
    } else if (starts_with(word, "-")) {
      throw ConfigError("[" + word + "] expected -n or --make-parents, got another option");
    } else {
      names.push_back(word);
    }
  }
  if (names.size() != 2) {
    throw ConfigError("[tune cp] expected a configuration and a file, got " + std::to_string(names.size()) +
                      " words (try millrace tune cp llama3_1/8B_lora ./my.yaml)");
  }
  const std::string text = config_named(names[0]);
  fs::path path = names[1];
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) path /= fs::path(names[0]).filename();
  if (path.extension().empty()) path += ".yaml";
  const fs::path parent = path.parent_path();
  if (!parent.empty() && !fs::is_directory(parent, ignored)) {
    if (!make_parents) {
      throw ConfigError("[" + path.string() + "] expected a folder that is there, got none (try --make-parents)");
    }
    create_folders(parent);
  }
  if (keep && fs::exists(path, ignored)) {
    std::cout << path.string() << " is there already and was left as it is\n";
    return 0;
  }
  write_file_atomically(path, text);
  std::cout << "Copied file to " << path.string() << "\n";
  return 0;
}

}  // namespace

int run_tune(const std::vector<std::string>& args) {
  const std::vector<std::string> names = {"run", "ls", "cat", "cp", "validate", "download"};
  if (args.empty()) {
    throw ConfigError("[tune] expected one of " + join(names, ", ") + ", got nothing (try millrace tune --help)");
  }
  const std::string& name = args[0];
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (name == "--help" || name == "-h" || (!rest.empty() && (rest[0] == "--help" || rest[0] == "-h"))) {
    std::cout << kHelp;
    return 0;
  }
  if (name == "run") return run_tune_run(rest);
  if (name == "validate") return run_tune_validate(rest);
  if (name == "download") return run_tune_download(rest);
  if (name == "cp") return copy_config(rest);
  if (name == "ls" && rest.empty()) {
    std::cout << tune_list();
    return 0;
  }
  if (name == "cat") return show_config(rest);
  if (name == "ls") throw ConfigError("[tune ls] expected no words, got " + std::to_string(rest.size()));
  const std::string near = nearest(name, names);
  throw ConfigError("[tune] expected one of " + join(names, ", ") + ", got " + name +
                    (near.empty() ? "" : " (try millrace tune " + near + ")"));
}

}  // namespace millrace
