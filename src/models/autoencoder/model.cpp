#include "models/autoencoder/model.h"

#include "base/error.h"

namespace millrace::autoencoder {
namespace {

// An inner node of the module tree, which only provides its name.
struct Group : torch::nn::Module {};

std::shared_ptr<PlainConv2d> conv3x3(int64_t in, int64_t out, const torch::TensorOptions& options) {
  return std::make_shared<PlainConv2d>(in, out, 3, 1, 1, options);
}

// count residual blocks, the first of which goes from `in` to `out` channels.
std::shared_ptr<Level> make_level(int64_t in, int64_t out, int64_t count, int64_t groups,
                                  const torch::TensorOptions& options) {
  auto level = std::make_shared<Level>();
  const auto block = level->register_module("block", std::make_shared<Group>());
  for (int64_t i = 0; i < count; ++i) {
    level->blocks.push_back(block->register_module(
        std::to_string(i), std::make_shared<ResidualBlock>(i == 0 ? in : out, out, groups, options)));
  }
  return level;
}

void check_input(const char* name, const torch::Tensor& x, int64_t channels, int64_t multiple) {
  const bool good =
      x.dim() == 4 && x.size(1) == channels && x.numel() > 0 && x.size(2) % multiple == 0 && x.size(3) % multiple == 0;
  if (good) return;
  throw ModelError("[autoencoder: " + std::string(name) + "] expected [B, " + std::to_string(channels) +
                   ", H, W] with H and W multiples of " + std::to_string(multiple) + ", got " + c10::str(x.sizes()));
}

// On a CPU pictures are processed one at a time: that needs a fraction of a batch's memory, much of which stays in the
// cache, and the result does not depend on the other pictures of the batch.
template <typename Network>
torch::Tensor run_network(const Network& network, const torch::Tensor& x_BCHW) {
  if (!x_BCHW.is_cpu() || at::GradMode::is_enabled()) return network.forward(x_BCHW);
  const torch::Tensor x = x_BCHW.contiguous(torch::MemoryFormat::ChannelsLast);
  std::vector<torch::Tensor> rows;
  for (int64_t b = 0; b < x.size(0); ++b) rows.push_back(network.forward(x.narrow(0, b, 1)).contiguous());
  return at::cat(rows, 0);
}

}  // namespace

Encoder::Encoder(const AutoencoderConfig& config, const torch::TensorOptions& options) {
  const std::vector<int64_t>& channels = config.block_out_channels;
  conv_in_ = register_module("conv_in", conv3x3(config.in_channels, channels.front(), options));
  const auto down = register_module("down", std::make_shared<Group>());
  for (size_t i = 0; i < channels.size(); ++i) {
    auto level =
        make_level(channels[i == 0 ? 0 : i - 1], channels[i], config.layers_per_block, config.norm_num_groups, options);
    if (i + 1 < channels.size()) {
      const auto downsample = level->register_module("downsample", std::make_shared<Group>());
      level->resample = downsample->register_module(
          "conv", std::make_shared<PlainConv2d>(channels[i], channels[i], 3, /*stride=*/2, /*padding=*/0, options));
    }
    down_.push_back(down->register_module(std::to_string(i), level));
  }
  mid_ = register_module("mid", std::make_shared<Middle>(channels.back(), config.norm_num_groups, options));
  norm_out_ = register_module(
      "norm_out", std::make_shared<PlainGroupNorm>(config.norm_num_groups, channels.back(), kNormEps, options));
  conv_out_ = register_module("conv_out", conv3x3(channels.back(), 2 * config.latent_channels, options));
}

torch::Tensor Encoder::forward(const torch::Tensor& image_BCHW) const {
  torch::Tensor h = conv_in_->forward(image_BCHW);
  for (const auto& level : down_) {
    for (const auto& block : level->blocks) h = block->forward(h);
    // Padded on the right and at the bottom only, as the authors' framework of the time did.
    if (level->resample) h = level->resample->forward(torch::constant_pad_nd(h, {0, 1, 0, 1}));
  }
  return norm_silu_conv(*norm_out_, *conv_out_, mid_->forward(h));
}

Decoder::Decoder(const AutoencoderConfig& config, const torch::TensorOptions& options) {
  const std::vector<int64_t>& channels = config.block_out_channels;
  conv_in_ = register_module("conv_in", conv3x3(config.latent_channels, channels.back(), options));
  mid_ = register_module("mid", std::make_shared<Middle>(channels.back(), config.norm_num_groups, options));
  const auto up = register_module("up", std::make_shared<Group>());
  for (size_t i = 0; i < channels.size(); ++i) {
    auto level = make_level(channels[i + 1 == channels.size() ? i : i + 1], channels[i], config.layers_per_block + 1,
                            config.norm_num_groups, options);
    if (i > 0) {
      const auto upsample = level->register_module("upsample", std::make_shared<Group>());
      level->resample = upsample->register_module("conv", conv3x3(channels[i], channels[i], options));
    }
    up_.push_back(up->register_module(std::to_string(i), level));
  }
  norm_out_ = register_module(
      "norm_out", std::make_shared<PlainGroupNorm>(config.norm_num_groups, channels.front(), kNormEps, options));
  conv_out_ = register_module("conv_out", conv3x3(channels.front(), config.out_channels, options));
}

torch::Tensor Decoder::forward(const torch::Tensor& latent_BZhw) const {
  torch::Tensor h = mid_->forward(conv_in_->forward(latent_BZhw));
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    for (const auto& block : (*level)->blocks) h = block->forward(h);
    if ((*level)->resample) {
      h = (*level)->resample->forward(torch::upsample_nearest2d(h, {2 * h.size(2), 2 * h.size(3)}));
    }
  }
  return norm_silu_conv(*norm_out_, *conv_out_, h);
}

Autoencoder::Autoencoder(const AutoencoderConfig& config, const torch::TensorOptions& options)
    : Module("the autoencoder"), config_(config) {
  encoder_ = register_module("encoder", std::make_shared<Encoder>(config, options));
  decoder_ = register_module("decoder", std::make_shared<Decoder>(config, options));
}

Moments Autoencoder::encode(const torch::Tensor& image_BCHW) const {
  check_input("image", image_BCHW, config_.in_channels, config_.downscale());
  const std::vector<torch::Tensor> halves = run_network(*encoder_, image_BCHW).chunk(2, 1);
  return {halves[0], halves[1]};
}

torch::Tensor Autoencoder::decode(const torch::Tensor& latent_BZhw) const {
  check_input("latent", latent_BZhw, config_.latent_channels, 1);
  return run_network(*decoder_, latent_BZhw);
}

}  // namespace millrace::autoencoder
