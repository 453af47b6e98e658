// millrace sample: pictures from a run's checkpoint or from FLUX weights.
#include <unistd.h>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "diffusion/pictures.h"
#include "images/encode.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"
#include "nn/device.h"
#include "tasks/flux_pretrain/flux_setup.h"
#include "tasks/flux_pretrain/run_weights.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct SampleArguments {
  std::string run, weights, config, output = "samples";
  std::string prompts_file;
  std::vector<std::string> prompts, overrides;
  int64_t step = -1, denoising_steps = 0, img_size = 0, seed = 0;
  double guidance_scale = -1, distilled_guidance = 3.5;
  std::string use = "best", device;
  bool no_grid = false, shift_times = false;
};

std::vector<std::string> read_prompts(const SampleArguments& arguments, const RunConfig& config) {
  std::vector<std::string> prompts = arguments.prompts;
  if (!arguments.prompts_file.empty()) {
    for (const std::string& line : split(read_file(arguments.prompts_file, 1 << 24), '\n')) {
      if (!trim(line).empty()) prompts.emplace_back(trim(line));
    }
  }
  if (prompts.empty()) prompts = config.sample.prompts;
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
  return stem;
}

}  // namespace

int run_sample(const std::vector<std::string>& args) {
  SampleArguments arguments;
  CLI::App app{"Draws pictures for prompts, from a run's newest checkpoint or from FLUX weights.", "millrace sample"};
  app.add_option("run", arguments.run, "The run's folder (job.dump_folder)");
  app.add_option("--weights", arguments.weights,
                 "FLUX weights in any naming, instead of a run; --config then says which encoders and autoencoder");
  app.add_option("--config", arguments.config, "A training configuration (TOML), with --weights");
  app.add_option("--prompt,-p", arguments.prompts, "What to draw; may be given several times");
  app.add_option("--prompts-file", arguments.prompts_file, "A file with one prompt per line");
  app.add_option("--output,-o", arguments.output, "Folder for the pictures")->capture_default_str();
  app.add_option("--step", arguments.step, "The run's checkpoint to use; -1: the newest")->capture_default_str();
  app.add_option("--use", arguments.use, "average: the averaged weights, last: the last step's, best: average if kept")
      ->check(CLI::IsMember({"best", "average", "last"}))
      ->capture_default_str();
  app.add_option("--steps", arguments.denoising_steps, "Euler steps from noise to picture; 0: the configuration's");
  app.add_option("--guidance-scale", arguments.guidance_scale,
                 "Classifier-free guidance; 1: off; by default the configuration's");
  app.add_option("--guidance", arguments.distilled_guidance, "FLUX.1-dev's distilled guidance")->capture_default_str();
  app.add_flag("--shift", arguments.shift_times, "Spend more steps near noise, as FLUX.1-dev is sampled");
  app.add_option("--size", arguments.img_size, "Side of a picture in pixels; 0: the configuration's");
  app.add_option("--seed", arguments.seed, "Seed of the starting noise")->capture_default_str();
  app.add_option("--device", arguments.device, "cpu, cuda, cuda:N or auto; by default the configuration's");
  app.add_flag("--no-grid", arguments.no_grid, "Single pictures only, without grid.png");
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);
  if (arguments.run.empty() == arguments.weights.empty()) {
    throw ConfigError("[sample] expected a run's folder or --weights, got " +
                      std::string(arguments.run.empty() ? "neither" : "both"));
  }

  RunConfig config;
  RunWeights run;
  std::string origin;
  if (!arguments.run.empty()) {
    if (!is_run_folder(arguments.run)) {
      throw ConfigError("[" + arguments.run + "] expected a run's folder with config.toml, got none");
    }
    run = load_run_weights(arguments.run, arguments.step,
                           arguments.use == "last"      ? WhichWeights::kLast
                           : arguments.use == "average" ? WhichWeights::kAverage
                                                        : WhichWeights::kBest);
    config = run.config;
    origin = str(arguments.run, ", step ", run.step, run.averaged ? ", averaged weights" : "");
  } else {
    config = load_run_config(arguments.config, {});
    origin = arguments.weights;
  }

  const torch::Device device = resolve_device(arguments.device.empty() ? config.training.device : arguments.device);
  const torch::Dtype dtype = compute_dtype(config, device);
  const std::unique_ptr<PictureCodec> codec = make_picture_codec(config, dtype, device);
  const flux::FluxConfig sizes = flux_config(config, codec->channels());
  CaptionEncoders encoders = make_caption_encoders(config, sizes, dtype, device);
  flux::Flux model(sizes, FlatParametersOptions{dtype, device, /*training=*/false});
  if (arguments.run.empty()) {
    const ModelWeights weights(find_model("flux"), arguments.weights);
    model.flat_parameters().assign(
        import_weights("FLUX", shapes_of(model), weights.store(), flux::weight_rules(sizes, weights.naming())));
  } else {
    model.flat_parameters().assign(run.tensors);
  }

  const std::vector<std::string> prompts = read_prompts(arguments, config);
  DrawOptions options;
  options.img_size = arguments.img_size > 0       ? arguments.img_size
                     : config.sample.img_size > 0 ? config.sample.img_size
                                                  : config.training.img_size;
  options.patch_size = patch_size(config);
  options.denoising_steps = arguments.denoising_steps > 0 ? arguments.denoising_steps : config.sample.denoising_steps;
  options.guidance_scale = arguments.guidance_scale >= 0 ? arguments.guidance_scale : config.sample.guidance_scale;
  options.distilled_guidance = arguments.distilled_guidance;
  options.shift_times = arguments.shift_times;
  options.seed = static_cast<uint64_t>(arguments.seed);
  log_info("drawing ", prompts.size(), " pictures of ", options.img_size, " x ", options.img_size, " in ",
           options.denoising_steps, " steps from ", origin);
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const torch::Tensor pictures = draw_pictures(model, encoders, *codec, prompts, options, [&](double fraction) {
    if (terminal) set_terminal_footer(str("drawing: ", static_cast<int>(100 * fraction), " %"));
  });
  if (terminal) set_terminal_footer("");

  create_folders(arguments.output);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const fs::path file = fs::path(arguments.output) / str(i, "-", file_stem(prompts[i]), ".png");
    const PngText texts = {{"Description", prompts[i]}, {"Software", "AI generated;txt2img;flux;millrace"}};
    write_file_atomically(file, encode_png(to_image(pictures[static_cast<int64_t>(i)]), texts));
    std::printf("%s\n", file.c_str());
  }
  if (!arguments.no_grid) {
    const fs::path file = fs::path(arguments.output) / "grid.png";
    write_file_atomically(file, encode_png(picture_grid(pictures, prompts, config.sample.grid_columns)));
    std::printf("%s\n", file.c_str());
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
