// millrace sample for tasks of pictures: pictures from a run's checkpoint or from FLUX weights, on one rank or shared
// among many.
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/text_lines.h"
#include "checkpoint/run_weights.h"
#include "comm/communicator.h"
#include "command_line.h"
#include "commands.h"
#include "config/number_text.h"
#include "diffusion/flux_drawing.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/pictures.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"
#include "parallel/configured_placement.h"
#include "parallel/run_as_rank.h"
#include "parallel/run_device.h"
#include "sample_commands.h"
#include "step_option.h"
#include "tasks/load_run.h"
#include "tasks/task_table.h"
#include "version.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct SampleArguments {
  std::string run, weights, config, output = "samples";
  std::string prompts_file, make;
  std::vector<std::string> prompts, overrides;
  int64_t step = -1, denoising_steps = 0, img_size = 0, width = 0, height = 0, batch_size = 0, seed = 0;
  double guidance_scale = -1, distilled_guidance = 3.5;
  std::string use = "best", device, lora_strength = "1";
  int shift = -1;  // 0 or 1 if given
  bool no_grid = false, shards_weights = false;
};

bool read_arguments(SampleArguments& arguments, const std::vector<std::string>& args) {
  ArgumentParser app{
      "Draws pictures for prompts, from a run's newest checkpoint or from FLUX weights. As one of several ranks\n"
      "(`millrace launch -n 4 sample ...`, srun, torchrun) it draws a part of them. Options of the configuration may\n"
      "follow: --encoder.t5_encoder=..., say, for a run that was trained on encodings and names none.\n"
      "A language model's run writes texts: `millrace sample RUN --help` lists its options.",
      "millrace sample"};
  app.add_option("run", arguments.run, "The run's folder (job.dump_folder)");
  app.add_option("--weights", arguments.weights,
                 "FLUX weights in any naming, instead of a run; --config then names the encoders and the autoencoder");
  app.add_option("--config", arguments.config, "A training configuration (TOML), with --weights");
  app.add_texts("--prompt,-p", arguments.prompts, "Prompt; may be given several times");
  app.add_option("--prompts-file,--prompts,--inference.prompts_path", arguments.prompts_file,
                 "A file with one prompt per line; by default the configuration's prompts");
  app.add_option("--output,-o,--inference.save_path", arguments.output, "Folder for the pictures")
      ->capture_default_str();
  add_step_option(app, arguments.step);
  app.add_option("--use", arguments.use, "average: the averaged weights, last: the last step's, best: average if kept")
      ->check(CLI::IsMember({"best", "average", "last"}))
      ->capture_default_str();
  app.add_option(
         "--lora-strength", arguments.lora_strength,
         "Of a run of LoRA: how much its adapters add, from 0 to 1 and beyond; several with commas (0,0.5,1) draw\n"
         "each prompt with each, side by side in the grid")
      ->capture_default_str();
  app.add_option("--steps", arguments.denoising_steps, "Euler steps from noise to picture; 0: the configuration's")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--guidance-scale", arguments.guidance_scale,
                 "Classifier-free guidance; 1: off; by default the configuration's");
  app.add_option("--guidance", arguments.distilled_guidance, "FLUX.1-dev's distilled guidance")->capture_default_str();
  app.add_flag("--shift{1},--no-shift{0}", arguments.shift,
               "Spend more steps near noise, or not; by default as in the configuration, else only for FLUX.1-dev");
  app.add_option("--size", arguments.img_size, "Side of a picture in pixels; 0: the configuration's")
      ->check(CLI::Range(0, 65536));
  app.add_option("--width", arguments.width, "Width of a picture in pixels; 0: --size")->check(CLI::Range(0, 65536));
  app.add_option("--height", arguments.height, "Height of a picture in pixels; 0: --size")->check(CLI::Range(0, 65536));
  app.add_option("--batch-size,--inference.batch_size", arguments.batch_size,
                 "Pictures that one rank draws at a time; 0: the configuration's")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seed", arguments.seed, "Seed of the starting noise")->capture_default_str();
  app.add_option("--device", arguments.device, "cpu, cuda, cuda:N or auto; by default the configuration's");
  app.add_option("--make", arguments.make,
                 "Publisher of the weights, for the pictures' EXIF tags; by default Black Forest Labs for files with "
                 "their names, else none");
  app.add_flag("--shard", arguments.shards_weights,
               "Several ranks: each holds a part of FLUX's weights, for models larger than one GPU");
  app.add_flag("--no-grid", arguments.no_grid, "Single pictures only, without grid.png");
  if (!parse_with_overrides(app, args, arguments.overrides)) return false;
  if (arguments.run.empty() == arguments.weights.empty()) {
    throw ConfigError("[sample] expected a run's folder or --weights, got " +
                      std::string(arguments.run.empty() ? "neither" : "both"));
  }
  if (!arguments.run.empty() && !arguments.config.empty()) {
    throw ConfigError(
        "[--config] expected only with --weights: a run has its own configuration (try its options one by one, such as "
        "--encoder.t5_encoder=...)");
  }
  return true;
}

// Before anything is loaded: weights may take minutes.
std::vector<PromptToDraw> read_prompts(const SampleArguments& arguments, const FluxRunConfig& config) {
  std::vector<PromptToDraw> prompts = plain_prompts(arguments.prompts);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string problem = text_problem(prompts[i].text);
    if (!problem.empty()) throw ConfigError(str("[--prompt, number ", i + 1, "] ", problem));
  }
  if (!arguments.prompts_file.empty()) {
    const std::vector<PromptToDraw> of_file = read_prompts_file(arguments.prompts_file);
    prompts.insert(prompts.end(), of_file.begin(), of_file.end());
  } else if (prompts.empty()) {
    prompts = configured_prompts(config.sample);
  }
  if (prompts.empty()) throw ConfigError("[sample] expected a prompt, got none (try --prompt \"red apple\")");
  return prompts;
}

// The prompt as part of a file name: letters and digits, the rest as dashes.
std::string file_stem(const std::string& prompt) {
  std::string stem;
  for (const char c : prompt.substr(0, 60)) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (plain) stem += c;
    if (!plain && !stem.empty() && stem.back() != '-') stem += '-';
  }
  if (!stem.empty() && stem.back() == '-') stem.pop_back();
  return stem;
}

// A picture of one prompt, with adapters of one strength.
struct PictureName {
  std::string title, file;
};

std::vector<double> lora_strengths(const SampleArguments& arguments, const FluxRunConfig& config) {
  std::vector<double> strengths;
  for (const std::string& text : split(arguments.lora_strength, ',')) {
    const std::optional<double> number = parse_floating_point(text);
    if (!number || !std::isfinite(*number))
      throw ConfigError("[--lora-strength] expected numbers with commas between them, got \"" + text + "\"");
    strengths.push_back(*number);
  }
  const bool is_default = strengths.size() == 1 && strengths.front() == 1;
  if (!is_default && config.lora() == nullptr) {
    throw ConfigError("[--lora-strength] expected a run of LoRA with it, got the task " + config.job.task);
  }
  return strengths;
}

PictureName picture_name(const SampleArguments& arguments, int64_t number, const std::string& prompt,
                         const std::vector<double>& strengths, size_t which) {
  const std::string stem = file_stem(prompt);
  PictureName name{prompt, stem.empty() ? str(number) : str(number, "-", stem)};
  if (strengths.size() > 1) {
    const std::string strength = format_double("%g", strengths[which]);
    name.title += str(" (LoRA ", strength, ")");
    name.file += "-lora-" + strength;
  }
  name.file = (fs::path(arguments.output) / (name.file + ".png")).string();
  return name;
}

// A grid that is about square, with each prompt's strengths side by side.
int64_t columns_of_strengths(int64_t prompts, int64_t strengths) {
  const double per_row = std::sqrt(static_cast<double>(prompts) / static_cast<double>(strengths));
  return strengths * std::max<int64_t>(1, std::llround(per_row));
}

// The source of the weights: one of the two is set.
struct Source {
  std::unique_ptr<RunConfig> loaded;  // of a task of FLUX
  const FluxRunConfig& config() const { return as_flux(*loaded); }
  std::vector<PromptToDraw> prompts;
  std::optional<OpenRunWeights> run;
  std::optional<ModelWeights> weights;
  std::string description;
};

Source open_source(const SampleArguments& arguments) {
  Source source;
  if (arguments.run.empty()) {
    source.loaded = load_task_config(arguments.config, arguments.overrides);
    source.prompts = read_prompts(arguments, source.config());
    source.weights.emplace(find_model("flux"), arguments.weights);
    source.description = arguments.weights;
    return source;
  }
  if (!is_run_folder(arguments.run)) {
    throw ConfigError("[" + arguments.run + "] expected a run's folder with config.toml, got none");
  }
  source.loaded = load_task_config(fs::path(arguments.run) / "config.toml", arguments.overrides);
  source.prompts = read_prompts(arguments, source.config());
  source.run = open_run_weights(arguments.run, *source.loaded, arguments.step, parse_which_weights(arguments.use));
  source.description =
      str(arguments.run, ", step ", source.run->step, source.run->averaged ? ", averaged weights" : "");
  return source;
}

// A run of LoRA has its frozen weights where its configuration says, and the adapters in its checkpoint.
std::unique_ptr<FluxTrainee> make_trainee(const Source& source, const flux::FluxConfig& sizes,
                                          const FlatParametersOptions& placement, CaptionEncoders& encoders) {
  const FluxRunConfig& config = source.config();
  if (source.run) {
    std::unique_ptr<FluxTrainee> trainee = config.lora() != nullptr
                                               ? make_flux_trainee(config, sizes, placement, std::nullopt, &encoders)
                                               : make_empty_flux_trainee(config, sizes, placement);
    load_run(*source.run, trainee->parameters());
    return trainee;
  }
  std::unique_ptr<FluxTrainee> trainee = make_empty_flux_trainee(config, sizes, placement);
  FlatParameters& weights = trainee->model().flat_parameters();
  weights.assign(import_weights("FLUX", weights.shapes(), source.weights->store(),
                                flux::weight_rules(sizes, source.weights->naming())));
  return trainee;
}

DrawOptions options_from(const SampleArguments& arguments, const FluxRunConfig& config, const flux::FluxConfig& sizes) {
  DrawOptions options = draw_options(config, sizes);
  if (arguments.img_size > 0) options.width = options.height = arguments.img_size;
  if (arguments.width > 0) options.width = arguments.width;
  if (arguments.height > 0) options.height = arguments.height;
  if (arguments.denoising_steps > 0) options.denoising_steps = arguments.denoising_steps;
  if (arguments.guidance_scale >= 0) options.guidance_scale = arguments.guidance_scale;
  if (arguments.batch_size > 0) options.batch_size = arguments.batch_size;
  if (arguments.shift >= 0) options.shift_times = arguments.shift == 1;
  options.distilled_guidance = arguments.distilled_guidance;
  options.seed = static_cast<uint64_t>(arguments.seed);
  return options;
}

PictureOrigin origin_of(const SampleArguments& arguments, const Source& source, const flux::FluxConfig& sizes) {
  if (source.run) return {source.config().model.flavor, arguments.make};
  const flux::FluxConfig published = flux::flavor(sizes.guidance_embed ? "flux-dev" : "flux-schnell");
  const bool full_size = sizes.hidden_size == published.hidden_size && sizes.depth == published.depth &&
                         sizes.depth_single_blocks == published.depth_single_blocks;
  const std::string maker = maker_of(arguments.weights, full_size);
  return {name_of_weights(arguments.weights), arguments.make.empty() ? maker : arguments.make};
}

void draw(const SampleArguments& arguments, const Source& source, torch::Device device, Communicator& ranks) {
  const FluxRunConfig& config = source.config();
  if (const std::string missing = missing_for_drawing(config); !missing.empty()) {
    throw ConfigError("[" + missing + "] expected a path to draw pictures with, got nothing (try --" + missing +
                      "=...)");
  }
  const std::vector<double> strengths = lora_strengths(arguments, config);
  const std::vector<PromptToDraw>& prompts = source.prompts;
  const auto total = static_cast<int64_t>(prompts.size());
  const torch::Dtype dtype = compute_dtype(config, device);
  const std::unique_ptr<PictureCodec> codec = make_picture_codec(config, dtype, device);
  const flux::FluxConfig sizes = flux_config(config, codec->channels());
  CaptionEncoders encoders =
      make_caption_encoders(config, sizes, dtype, device, arguments.shards_weights ? &ranks.mesh() : nullptr);
  FlatParametersOptions placement{dtype, device, /*training=*/false};
  if (arguments.shards_weights) placement.mesh = &ranks.mesh();
  const std::unique_ptr<FluxTrainee> trainee = make_trainee(source, sizes, placement, encoders);

  const DrawOptions options = options_from(arguments, config, sizes);
  const PictureOrigin origin = origin_of(arguments, source, sizes);
  const bool is_first = ranks.world().rank == 0;
  if (is_first) {
    const bool is_usual = std::all_of(prompts.begin(), prompts.end(), [&](const PromptToDraw& prompt) {
      const DrawOptions own = options_of(prompt, options);
      return own.width == options.width && own.height == options.height &&
             own.denoising_steps == options.denoising_steps;
    });
    log_info("drawing ", total, total == 1 ? " picture" : " pictures",
             is_usual ? str(" of ", options.width, " x ", options.height, " in ", options.denoising_steps, " steps")
                      : std::string(" with the options of each prompt"),
             " from ", source.description,
             ranks.world().size > 1 ? str(", on ", ranks.world().size, " ranks") : std::string());
  }
  const double start = now_seconds();
  const bool has_bar = is_first && ::isatty(STDERR_FILENO) != 0;
  create_folders(arguments.output);
  const auto name = [&](int64_t number, size_t which) {
    return picture_name(arguments, number, prompts[static_cast<size_t>(number)].text, strengths, which);
  };
  std::vector<std::vector<Image>> pictures;  // of each strength; on the first rank
  for (size_t which = 0; which < strengths.size(); ++which) {
    trainee->set_strength(strengths[which]);
    DrawCallbacks callbacks;
    callbacks.on_picture = [&](int64_t number, const Image& picture) {
      const std::string& prompt = prompts[static_cast<size_t>(number)].text;
      write_file_atomically(name(number, which).file, encode_picture(picture, prompt, origin));
    };
    callbacks.progress = [&](double fraction) {
      const double part = (static_cast<double>(which) + fraction) / static_cast<double>(strengths.size());
      if (has_bar) set_terminal_footer(str("drawing: ", static_cast<int>(100 * part), " %"));
    };
    pictures.push_back(draw_prompts(*trainee, encoders, *codec, prompts, options, ranks.mesh().data(),
                                    /*wants_pictures=*/!arguments.no_grid, callbacks));
  }
  if (has_bar) set_terminal_footer("");

  ranks.mesh().world().barrier();  // all files exist
  if (!is_first) return;
  const double seconds = now_seconds() - start;
  const int64_t count = total * static_cast<int64_t>(strengths.size());
  log_info("drew ", count, count == 1 ? " picture in " : " pictures in ", human_duration(seconds), ", ",
           format_double("%.2f", seconds / static_cast<double>(count)), " s each");
  std::vector<Image> cells;  // each prompt's pictures beside each other
  std::vector<std::string> titles;
  for (int64_t i = 0; i < total; ++i) {
    for (size_t which = 0; which < strengths.size(); ++which) {
      std::printf("%s\n", name(i, which).file.c_str());
      if (arguments.no_grid) continue;
      cells.push_back(std::move(pictures[which][static_cast<size_t>(i)]));
      titles.push_back(name(i, which).title);
    }
  }
  if (arguments.no_grid) return;
  const fs::path file = fs::path(arguments.output) / "grid.png";
  const int64_t columns = strengths.size() > 1 ? columns_of_strengths(total, static_cast<int64_t>(strengths.size()))
                                               : config.sample.grid_columns;
  const Image grid = picture_grid(of_one_size(std::move(cells)), titles, columns);
  write_file_atomically(file, encode_picture(grid, join(texts_of(prompts), "\n"), origin));
  std::printf("%s\n", file.c_str());
}

}  // namespace

int sample_pictures(const std::vector<std::string>& args) {
  SampleArguments arguments;
  if (!read_arguments(arguments, args)) return static_cast<int>(ExitCode::kDone);
  const World world = detect_world();
  // Messages that are the same on all ranks come from the first only.
  if (world.rank > 0) set_console_log_level(LogLevel::kError);
  const Source source = open_source(arguments);
  if (world.rank > 0) set_console_log_level(LogLevel::kWarning);
  CommOptions options;
  options.shape = arguments.shards_weights ? MeshShape{1, world.size, 1} : MeshShape{world.size, 1, 1};
  options.open_device = [wanted = arguments.device.empty() ? source.config().training.device : arguments.device,
                         world] { return device_of_rank(wanted, world); };
  options.allow_nvls = source.config().comm.allow_nvls;
  options.init_timeout = static_cast<double>(source.config().comm.init_timeout_seconds);
  // Faster ranks wait for the slowest; the watch detects ranks that die or stop.
  options.train_timeout = std::max(1800.0, static_cast<double>(source.config().comm.train_timeout_seconds));
  const std::string line = join(args, "\n");
  options.fingerprint = str(checksum64(line.data(), line.size()));
  options.version = build_for_peers(world.size);
  const auto ranks = connect(world, options);
  run_as_rank(*ranks, [&] { draw(arguments, source, ranks->device(), *ranks); });
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
