#include "diffusion/flux_drawing.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/text_lines.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"
#include "diffusion/pictures.h"
#include "diffusion/sampler.h"

namespace millrace {
namespace {

// Consecutive prompts for consecutive ranks.
struct Share {
  int64_t first = 0, drawn = 0, wanted = 0;  // only the first `wanted` of those drawn have a prompt
};

Share share_of(int64_t total, const Group& group) {
  const int64_t drawn = (total + group.size() - 1) / group.size();
  const int64_t first = drawn * group.rank();
  return {first, drawn, std::clamp<int64_t>(total - first, 0, drawn)};
}

// [B, ...], or [2B, ...]: the empty prompt's encoding B times, then the prompts'.
torch::Tensor encode(CaptionEncoder& encoder, const std::vector<std::string>& prompts, bool is_guided) {
  const torch::Tensor encodings = encoder.encode(prompts);
  if (!is_guided) return encodings;
  return at::cat({encoder.encode({""}).expand_as(encodings), encodings}, 0);
}

}  // namespace

DrawOptions draw_options(const FluxRunConfig& config, const flux::FluxConfig& sizes) {
  const SampleConfig& sample = config.sample;
  DrawOptions options;
  options.width = options.height = sample.img_size > 0 ? sample.img_size : config.training_pictures.img_size;
  options.patch_size = patch_size(config);
  options.denoising_steps = sample.denoising_steps;
  options.guidance_scale = sample.guidance_scale;
  options.shift_times = sample.shift.value_or(sizes.guidance_embed);
  options.seed = static_cast<uint64_t>(sample.seed);
  options.batch_size = sample.local_batch_size;
  return options;
}

std::vector<std::string> read_prompts_file(const std::filesystem::path& path) {
  std::vector<std::string> prompts;
  for (TextLine& line : read_text_lines(path, {.code = ExitCode::kConfig})) prompts.push_back(std::move(line.text));
  return prompts;
}

std::string missing_for_drawing(const FluxRunConfig& config) {
  if (config.encoder.t5_encoder.empty()) return "encoder.t5_encoder";
  if (config.encoder.clip_encoder.empty()) return "encoder.clip_encoder";
  return config.encoder.autoencoder_path.empty() ? "encoder.autoencoder_path" : "";
}

void draw_pictures(FluxTrainee& trainee, CaptionEncoders& encoders, PictureCodec& codec,
                   const std::vector<std::string>& prompts, const DrawOptions& options, const Group& group,
                   const std::function<void(int64_t number, Image picture)>& on_picture,
                   const std::function<void(double fraction)>& progress) {
  const torch::NoGradGuard no_grad;
  const int64_t multiple = codec.downscale() * options.patch_size;
  for (const int64_t side : {options.width, options.height}) {
    if (side < multiple || side % multiple != 0) {
      throw ConfigError(str("[picture size] expected a multiple of ", multiple, " pixels, got ", side));
    }
  }
  const torch::Device device = trainee.model().flat_parameters().compute().device();
  const int64_t rows = options.height / multiple, columns = options.width / multiple;
  SamplerOptions sampler;
  sampler.times = sampling_times(options.denoising_steps,
                                 options.shift_times ? std::optional<int64_t>(rows * columns) : std::nullopt);
  sampler.guidance_scale = options.guidance_scale;

  const Share share = share_of(static_cast<int64_t>(prompts.size()), group);
  for (int64_t begin = 0; begin < share.drawn; begin += options.batch_size) {
    const int64_t count = std::min(options.batch_size, share.drawn - begin);
    std::vector<std::string> batch(static_cast<size_t>(count));
    std::vector<uint64_t> ids;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t number = share.first + begin + i;
      ids.push_back(static_cast<uint64_t>(number));
      if (begin + i < share.wanted) batch[static_cast<size_t>(i)] = prompts[static_cast<size_t>(number)];
    }
    const torch::Tensor noise = draw_noise(
        options.seed, RandomPurpose::kSampling, std::vector<uint32_t>(ids.size(), 0), ids,
        torch::empty({count, codec.channels(), options.height / codec.downscale(), options.width / codec.downscale()},
                     torch::TensorOptions().dtype(torch::kFloat32).device(device)));

    flux::FluxInputs inputs;
    inputs.txt_BTX = encode(*encoders.tokens, batch, sampler.is_guided());
    inputs.y_BV = encode(*encoders.pooled, batch, sampler.is_guided());
    inputs.img_ids_BIA = image_ids(rows, columns, device);
    inputs.txt_ids_BTA = text_ids(inputs.txt_BTX.size(1), device);
    if (trainee.model().config().guidance_embed) {
      inputs.guidance_B = torch::full({inputs.txt_BTX.size(0)}, options.distilled_guidance, noise.options());
    }
    const Velocity velocity = [&](const torch::Tensor& x, const torch::Tensor& t_B) {
      inputs.img_BIC = x;
      inputs.timesteps_B = t_B;
      return trainee.forward(inputs);
    };
    const auto report = [&](int64_t step) {
      if (!progress) return;
      const double done = static_cast<double>(step) / static_cast<double>(options.denoising_steps);
      progress((static_cast<double>(begin) + done * static_cast<double>(count)) / static_cast<double>(share.drawn));
    };
    const torch::Tensor tokens = sample_flow(pack_patches(noise, options.patch_size), velocity, sampler, report);
    const torch::Tensor pictures_BCHW = codec.decode(unpack_patches(tokens, rows, columns, options.patch_size)).cpu();
    for (int64_t i = 0; i < count && begin + i < share.wanted; ++i) {
      on_picture(share.first + begin + i, to_image(pictures_BCHW[i]));
    }
  }
}

std::vector<Image> gather_pictures(const std::vector<Image>& own, int64_t total, const DrawOptions& options,
                                   Group& group, torch::Device device) {
  if (group.size() == 1) return own;
  const Share share = share_of(total, group);
  MILLRACE_CHECK(static_cast<int64_t>(own.size()) == share.wanted);
  const auto height = static_cast<int>(options.height), width = static_cast<int>(options.width);
  const int64_t bytes = options.width * options.height * 3;
  const bool is_first = group.rank() == 0;
  std::vector<Image> pictures(is_first ? static_cast<size_t>(total) : 0);
  const torch::Tensor mine = torch::zeros({bytes}, torch::kUInt8);
  // One picture of each rank at a time: all of them might not fit into a GPU.
  for (int64_t i = 0; i < share.drawn; ++i) {
    if (i < share.wanted) {
      const std::vector<uint8_t>& pixels = own[static_cast<size_t>(i)].pixels;
      MILLRACE_CHECK(static_cast<int64_t>(pixels.size()) == bytes);
      std::memcpy(mine.data_ptr<uint8_t>(), pixels.data(), pixels.size());
    }
    const torch::Tensor all = torch::empty({bytes * group.size()}, mine.options().device(device));
    group.all_gather(all, mine.to(device)).wait();
    if (!is_first) continue;
    const torch::Tensor all_bytes = all.cpu();
    for (int64_t rank = 0; rank < group.size(); ++rank) {
      const int64_t number = rank * share.drawn + i;
      if (number >= total) break;
      Image& picture = pictures[static_cast<size_t>(number)];
      picture.reshape(width, height, 3);
      std::memcpy(picture.pixels.data(), all_bytes.data_ptr<uint8_t>() + rank * bytes, picture.pixels.size());
    }
  }
  return pictures;
}

}  // namespace millrace
