#include "diffusion/flux_drawing.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
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

// [B, ...], or [2B, ...]: the negative prompt's encoding B times, then the prompts'.
torch::Tensor encode(CaptionEncoder& encoder, const std::vector<std::string>& prompts, const DrawOptions& options) {
  const torch::Tensor encodings = encoder.encode(prompts);
  if (!options.is_guided()) return encodings;
  return at::cat({encoder.encode({options.negative_prompt}).expand_as(encodings), encodings}, 0);
}

// How many tokens the texts of those rows have.
std::vector<int64_t> text_lengths(CaptionEncoder& encoder, const std::vector<std::string>& prompts,
                                  const DrawOptions& options) {
  std::vector<std::string> rows = prompts;
  if (options.is_guided()) rows.insert(rows.begin(), prompts.size(), options.negative_prompt);
  return encoder.lengths(rows);
}

// Prompts that are drawn alike.
struct DrawGroup {
  DrawOptions options;
  std::vector<std::string> texts;
  std::vector<int64_t> numbers;  // in the whole list
  std::vector<uint64_t> noise_ids;
};

std::vector<DrawGroup> grouped(const std::vector<PromptToDraw>& prompts, const DrawOptions& usual) {
  std::vector<DrawGroup> groups;
  for (size_t number = 0; number < prompts.size(); ++number) {
    const DrawOptions options = options_of(prompts[number], usual);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const DrawGroup& g) { return g.options == options; });
    if (group == groups.end())
      group = groups.insert(groups.end(), {.options = options, .texts = {}, .numbers = {}, .noise_ids = {}});
    group->texts.push_back(prompts[number].text);
    group->numbers.push_back(static_cast<int64_t>(number));
    group->noise_ids.push_back(prompts[number].seed ? 0 : number);
  }
  return groups;
}

void check_sizes(const std::vector<DrawGroup>& groups, int64_t downscale) {
  for (const DrawGroup& group : groups) {
    const int64_t multiple = downscale * group.options.patch_size;
    for (const int64_t side : {group.options.width, group.options.height}) {
      if (side >= multiple && side % multiple == 0) continue;
      throw ConfigError(str("[picture size] expected a multiple of ", multiple, " pixels, got ", side));
    }
  }
}

// This rank's part of a group, in order; nothing unless `keeps`, since a list may be long.
std::vector<Image> draw_own(FluxTrainee& trainee, CaptionEncoders& encoders, PictureCodec& codec,
                            const DrawGroup& wanted, const Group& group, bool keeps, const DrawCallbacks& callbacks) {
  const DrawOptions& options = wanted.options;
  const std::vector<std::string>& prompts = wanted.texts;
  const int64_t multiple = codec.downscale() * options.patch_size;
  const torch::Device device = trainee.model().flat_parameters().compute().device();
  const int64_t rows = options.height / multiple, columns = options.width / multiple;
  SamplerOptions sampler;
  sampler.times = sampling_times(options.denoising_steps,
                                 options.shift_times ? std::optional<int64_t>(rows * columns) : std::nullopt);
  sampler.guidance_scale = options.guidance_scale;

  std::vector<Image> own;
  const Share share = share_of(static_cast<int64_t>(prompts.size()), group);
  for (int64_t begin = 0; begin < share.drawn; begin += options.batch_size) {
    const int64_t count = std::min(options.batch_size, share.drawn - begin);
    std::vector<std::string> batch(static_cast<size_t>(count));
    std::vector<uint64_t> ids(static_cast<size_t>(count));
    for (int64_t i = 0; i < count && begin + i < share.wanted; ++i) {
      const auto place = static_cast<size_t>(share.first + begin + i);
      ids[static_cast<size_t>(i)] = wanted.noise_ids[place];
      batch[static_cast<size_t>(i)] = prompts[place];
    }
    const torch::Tensor noise = draw_noise(
        options.seed, RandomPurpose::kSampling, std::vector<uint32_t>(ids.size(), 0), ids,
        torch::empty({count, codec.channels(), options.height / codec.downscale(), options.width / codec.downscale()},
                     torch::TensorOptions().dtype(torch::kFloat32).device(device)));

    flux::FluxInputs inputs;
    inputs.txt_BTX = encode(*encoders.tokens, batch, options);
    inputs.text_lengths = text_lengths(*encoders.tokens, batch, options);
    inputs.y_BV = encode(*encoders.pooled, batch, options);
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
      if (!callbacks.progress) return;
      const double done = static_cast<double>(step) / static_cast<double>(options.denoising_steps);
      callbacks.progress((static_cast<double>(begin) + done * static_cast<double>(count)) /
                         static_cast<double>(share.drawn));
    };
    const torch::Tensor tokens = sample_flow(pack_patches(noise, options.patch_size), velocity, sampler, report);
    const torch::Tensor pictures_BCHW = codec.decode(unpack_patches(tokens, rows, columns, options.patch_size)).cpu();
    for (int64_t i = 0; i < count && begin + i < share.wanted; ++i) {
      Image picture = to_image(pictures_BCHW[i]);
      const int64_t number = wanted.numbers[static_cast<size_t>(share.first + begin + i)];
      if (callbacks.on_picture) callbacks.on_picture(number, picture);
      if (keeps) own.push_back(std::move(picture));
    }
  }
  return own;
}

// All pictures of a group in order, on rank 0; nothing on the others.
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

std::string missing_for_drawing(const FluxRunConfig& config) {
  if (config.encoder.t5_encoder.empty()) return "encoder.t5_encoder";
  if (config.encoder.clip_encoder.empty()) return "encoder.clip_encoder";
  return config.encoder.autoencoder_path.empty() ? "encoder.autoencoder_path" : "";
}

DrawOptions options_of(const PromptToDraw& prompt, const DrawOptions& usual) {
  DrawOptions options = usual;
  options.width = prompt.width.value_or(usual.width);
  options.height = prompt.height.value_or(usual.height);
  options.denoising_steps = prompt.denoising_steps.value_or(usual.denoising_steps);
  options.guidance_scale = prompt.guidance_scale.value_or(usual.guidance_scale);
  options.distilled_guidance = prompt.distilled_guidance.value_or(usual.distilled_guidance);
  options.seed = prompt.seed.value_or(usual.seed);
  if (options.is_guided()) options.negative_prompt = prompt.negative;
  return options;
}

std::vector<Image> draw_prompts(FluxTrainee& trainee, CaptionEncoders& encoders, PictureCodec& codec,
                                const std::vector<PromptToDraw>& prompts, const DrawOptions& usual, Group& group,
                                bool wants_pictures, const DrawCallbacks& callbacks) {
  const torch::NoGradGuard no_grad;
  const torch::Device device = trainee.model().flat_parameters().compute().device();
  std::vector<Image> pictures(wants_pictures && group.rank() == 0 ? prompts.size() : 0);
  size_t done = 0;
  const std::vector<DrawGroup> groups = grouped(prompts, usual);
  check_sizes(groups, codec.downscale());
  for (const DrawGroup& wanted : groups) {
    const double before = static_cast<double>(done), count = static_cast<double>(wanted.texts.size());
    const auto progress = [&](double fraction) {
      if (callbacks.progress) callbacks.progress((before + fraction * count) / static_cast<double>(prompts.size()));
    };
    const std::vector<Image> own =
        draw_own(trainee, encoders, codec, wanted, group, wants_pictures, {callbacks.on_picture, progress});
    done += wanted.texts.size();
    if (!wants_pictures) continue;
    std::vector<Image> all =
        gather_pictures(own, static_cast<int64_t>(wanted.texts.size()), wanted.options, group, device);
    for (size_t i = 0; i < all.size(); ++i) pictures[static_cast<size_t>(wanted.numbers[i])] = std::move(all[i]);
  }
  return pictures;
}

}  // namespace millrace
